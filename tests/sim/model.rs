use std::collections::BTreeMap;

use headwater::ReplicationId;

/// What is true: every byte ever appended to each history, and what the data was at the end of each unit.
#[derive(Debug)]
pub(crate) struct Model {
    logs: BTreeMap<ReplicationId, Log>,
    current: ReplicationId,
}

/// A store: a few registers, each of which mixes in what is written to it, so that a write that is lost, doubled
/// or out of order shows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Store {
    registers: BTreeMap<u8, u64>,
}

#[derive(Debug)]
struct Log {
    start: usize,
    bytes: Vec<u8>,
    /// The store's digest at the end of each unit.
    digests: BTreeMap<usize, u64>,
    /// The data has moved on without the stream: nothing more may go by this id.
    has_parted: bool,
}

impl Model {
    pub(crate) fn new(id: ReplicationId, digest: u64) -> Self {
        let mut model = Self { logs: BTreeMap::new(), current: id };
        model.begin(id, 0, digest);
        model
    }

    /// Goes on under an id that was never there before.
    pub(crate) fn begin(&mut self, id: ReplicationId, start: usize, digest: u64) {
        let log =
            Log { start, bytes: Vec::new(), digests: BTreeMap::from([(start, digest)]), has_parted: false };
        assert!(self.logs.insert(id, log).is_none(), "S6: {id} has named another history before");
        self.current = id;
    }

    pub(crate) fn id(&self) -> ReplicationId {
        self.current
    }

    pub(crate) fn end(&self) -> usize {
        self.logs[&self.current].end()
    }

    pub(crate) fn has_parted(&self) -> bool {
        self.logs[&self.current].has_parted
    }

    /// A unit has entered the stream.
    pub(crate) fn append(&mut self, unit: &[u8], digest: u64) {
        let log = self.current_mut();
        assert!(!log.has_parted, "S6: the stream goes on under an id whose data has moved on without it");
        log.bytes.extend_from_slice(unit);
        let end = log.end();
        log.digests.insert(end, digest);
    }

    /// The data has changed, the stream has not.
    pub(crate) fn part(&mut self) {
        self.current_mut().has_parted = true;
    }

    /// S1: bytes handed out for an offset of the current history are those that were appended there.
    pub(crate) fn check_handed_out(&self, at: usize, bytes: &[u8]) {
        let expected = self.logs[&self.current].get(at, at + bytes.len());
        assert!(expected == Some(bytes), "S1: {} bytes handed out for offset {at} are wrong", bytes.len());
    }

    /// Whether `bytes` from `start` on are those of history `id`.
    pub(crate) fn agrees(&self, id: ReplicationId, start: usize, bytes: &[u8]) -> bool {
        self.logs.get(&id).is_some_and(|log| log.get(start, start + bytes.len()) == Some(bytes))
    }

    /// The data at an offset of a history: that of the last unit that ends there or before.
    pub(crate) fn digest(&self, id: ReplicationId, at: usize) -> Option<u64> {
        let log = self.logs.get(&id).filter(|log| at <= log.end())?;
        log.digests.range(..=at).next_back().map(|(_, digest)| *digest)
    }

    fn current_mut(&mut self) -> &mut Log {
        self.logs.get_mut(&self.current).expect("the current history is there")
    }
}

impl Log {
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }

    fn get(&self, from: usize, to: usize) -> Option<&[u8]> {
        self.bytes.get(from.checked_sub(self.start)?..to.checked_sub(self.start)?)
    }
}

impl Store {
    /// Applies one command of the stream. Those that are no writes change nothing.
    pub(crate) fn apply(&mut self, args: &[&[u8]]) {
        if let [b"MIX", [key], value] = args {
            let register = self.registers.entry(*key).or_default();
            // That the bytes are right is checked where they are handed out; here their order counts.
            for byte in value.iter().take(32) {
                *register = (*register ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3).rotate_left(9);
            }
            *register = register.wrapping_add(value.len() as u64);
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.registers.iter().fold(0, |digest, (key, value)| {
            (digest ^ value ^ u64::from(*key)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17)
        })
    }

    /// An image of it, with `padding` bytes of ballast.
    pub(crate) fn encode(&self, padding: usize) -> Vec<u8> {
        let mut image = self.digest().to_le_bytes().to_vec();
        image.extend((self.registers.len() as u64).to_le_bytes());
        for (key, value) in &self.registers {
            image.push(*key);
            image.extend(value.to_le_bytes());
        }
        image.resize(image.len() + padding, PADDING);
        image
    }

    /// The store in an image; `None` if it is not whole, or not what was encoded.
    pub(crate) fn decode(image: &[u8]) -> Option<Self> {
        let (digest, rest) = image.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        let (entries, padding) = rest.split_at_checked(count.checked_mul(9)?)?;
        let entry = |entry: &[u8]| Some((entry[0], u64::from_le_bytes(entry[1..].try_into().ok()?)));
        let store = Self { registers: entries.chunks(9).map(entry).collect::<Option<_>>()? };
        let whole = store.digest() == u64::from_le_bytes(*digest) && padding.iter().all(|b| *b == PADDING);
        whole.then_some(store)
    }
}

const PADDING: u8 = b'.';
