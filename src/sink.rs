use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

/// Takes bytes: a [`Unit`](crate::Unit) of the stream, or a host's buffer of replies.
///
/// What [`wire`](crate::wire) encodes goes into one. (`bytes::BufMut` would do, but implementing it needs
/// `unsafe`.)
pub trait Sink {
    /// Appends a copy of `bytes`.
    fn put(&mut self, bytes: &[u8]);

    /// Appends `bytes`, without a copy where the sink can keep them as they are.
    fn put_shared(&mut self, bytes: Bytes) {
        self.put(&bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut sink: impl Sink + AsRef<[u8]>) -> Vec<u8> {
        sink.put(b"copied, ");
        sink.put_shared(Bytes::from_static(b"shared"));
        sink.as_ref().to_vec()
    }

    #[test]
    fn a_buffer_takes_a_copy_of_what_is_shared_too() {
        assert_eq!(filled(Vec::new()), b"copied, shared");
        assert_eq!(filled(BytesMut::new()), b"copied, shared");
    }
}
