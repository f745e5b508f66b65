use core::fmt;

/// The host's own name for a connection: given at attach, and handed back with every event about it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(pub u64);

/// Names one attached replica. Stays an error, never somebody else, once that replica is gone.
///
/// Keys come from [`Primary::attach`](crate::Primary::attach); [`ReplicaKey::new`] makes one for a host that
/// uses a part such as [`Acks`](crate::Acks) alone.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplicaKey {
    index: u32,
    generation: u32,
    tag: Tag,
}

impl ReplicaKey {
    /// The key of the `generation`th replica to take the place `index`. Parts keep a table as long as the
    /// greatest `index`, so use small ones, and use them again.
    pub const fn new(index: u32, generation: u32, tag: Tag) -> Self {
        Self { index, generation, tag }
    }

    /// The host's name for the connection.
    pub const fn tag(self) -> Tag {
        self.tag
    }

    pub(crate) const fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {}.{} (tag {})", self.index, self.generation, self.tag.0)
    }
}

impl fmt::Debug for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaKey({}.{}, tag {})", self.index, self.generation, self.tag.0)
    }
}

/// Names one waiter. Stays an error, never somebody else, once its wait is over and that was told.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WaiterKey {
    index: u32,
    generation: u32,
    tag: Tag,
}

impl WaiterKey {
    pub(crate) const fn new(index: u32, generation: u32, tag: Tag) -> Self {
        Self { index, generation, tag }
    }

    /// The host's name for the caller.
    pub const fn tag(self) -> Tag {
        self.tag
    }

    pub(crate) const fn index(self) -> usize {
        self.index as usize
    }

    pub(crate) const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for WaiterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiter {}.{} (tag {})", self.index, self.generation, self.tag.0)
    }
}

impl fmt::Debug for WaiterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaiterKey({}.{}, tag {})", self.index, self.generation, self.tag.0)
    }
}

/// Names one snapshot, from its cut until it is over. Never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SnapshotKey(pub(crate) u64);

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot {}", self.0)
    }
}

/// Names one attempt to follow a primary, from its [`UpstreamEvent::Connect`](crate::UpstreamEvent::Connect) on. Never
/// used again: what comes late from an earlier connection is an error.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkKey(pub(crate) u64);

impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// The error of a stale key: what it named is gone. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} is gone")]
pub struct Gone<K: fmt::Display>(pub K);

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_key_is_printed_with_all_that_tells_it_from_others() {
        let replica = ReplicaKey::new(1, 2, Tag(3));
        assert_eq!(replica.to_string(), "replica 1.2 (tag 3)");
        assert_eq!(format!("{replica:?}"), "ReplicaKey(1.2, tag 3)");
        let waiter = WaiterKey::new(4, 5, Tag(6));
        assert_eq!(waiter.to_string(), "waiter 4.5 (tag 6)");
        assert_eq!(format!("{waiter:?}"), "WaiterKey(4.5, tag 6)");
        assert_eq!(Gone(SnapshotKey(7)).to_string(), "snapshot 7 is gone");
        assert_eq!(Gone(LinkKey(8)).to_string(), "link 8 is gone");
    }
}
