use std::hint::black_box;

use bytes::Bytes;

/// Payloads of one size, from places that differ in their offset within a page: how source and destination of a
/// copy lie to each other can double its time, so a single place would measure luck.
pub(crate) struct Payload {
    sources: [Bytes; 64],
    next: usize,
}

impl Payload {
    pub(crate) fn new(size: usize) -> Self {
        let bytes = Bytes::from(vec![b'x'; size + 64 * STEP]);
        let source = |index: usize| {
            let start = index * STEP;
            bytes.slice(start..start + size)
        };
        Self { sources: std::array::from_fn(source), next: 0 }
    }

    /// The next one; its length is a surprise to the compiler, as a host's would be.
    #[inline]
    pub(crate) fn next(&mut self) -> &[u8] {
        self.next_shared()
    }

    #[inline]
    pub(crate) fn next_shared(&mut self) -> &Bytes {
        self.next = (self.next + 1) % self.sources.len();
        black_box(&self.sources[self.next])
    }
}

/// Bytes as people write them.
pub(crate) fn size_name(bytes: usize) -> String {
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;
/// From one source to the next: the sources spread over a page, and over a cache line.
const STEP: usize = 72;
