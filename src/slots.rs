use alloc::vec::Vec;

use crate::key::{ReplicaKey, Tag};

/// A table whose keys are generational: a place is used again, its key is not.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<(ReplicaKey, T)>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, tag: Tag, value: T) -> ReplicaKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry: None });
            u32::try_from(self.slots.len() - 1).expect("the host bounds the table")
        });
        let slot = &mut self.slots[index as usize];
        // A key comes again only after 2^32 replicas in one place.
        slot.generation = slot.generation.wrapping_add(1);
        let key = ReplicaKey::new(index, slot.generation, tag);
        slot.entry = Some((key, value));
        key
    }

    pub(crate) fn get(&self, key: ReplicaKey) -> Option<&T> {
        let (owner, value) = self.slots.get(key.index())?.entry.as_ref()?;
        (*owner == key).then_some(value)
    }

    pub(crate) fn get_mut(&mut self, key: ReplicaKey) -> Option<&mut T> {
        let (owner, value) = self.slots.get_mut(key.index())?.entry.as_mut()?;
        (*owner == key).then_some(value)
    }

    pub(crate) fn remove(&mut self, key: ReplicaKey) -> Option<T> {
        self.get(key)?;
        self.free.push(u32::try_from(key.index()).expect("a key's index has 32 bits"));
        self.slots[key.index()].entry.take().map(|(_, value)| value)
    }

    /// Every entry, to be changed, in the order of places.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ReplicaKey, &mut T)> {
        self.slots.iter_mut().filter_map(|slot| slot.entry.as_mut().map(|(key, value)| (*key, value)))
    }

    /// Every entry, in the order of places, which is not that of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ReplicaKey, &T)> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref().map(|(key, value)| (*key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_its_key_is_not() {
        let mut slots = Slots::new();
        let first = slots.insert(Tag(7), 'a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert(Tag(7), 'b');
        assert_eq!(second.index(), first.index());
        assert_ne!(second, first);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&'b'));
        assert_eq!(slots.len(), 1);
    }
}
