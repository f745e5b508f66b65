use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::world::Keys;

proptest! {
    /// What is lost is told by it.
    #[test]
    fn keys_agree_with_a_plain_set(one in prop::collection::vec(0..40u64, 0..60), other in prop::collection::vec(0..40u64, 0..60)) {
        let keys = [&one, &other].map(|inserted| {
            let mut keys = Keys::default();
            inserted.iter().for_each(|key| keys.insert(*key));
            keys
        });
        let plain = [one, other].map(BTreeSet::from_iter);
        let rest = keys[0].without(&keys[1]);
        prop_assert_eq!(keys[0].len(), plain[0].len() as u64);
        prop_assert_eq!(rest.len(), plain[0].difference(&plain[1]).count() as u64);
        for key in 0..41 {
            prop_assert_eq!(keys[0].contains(key), plain[0].contains(&key));
            prop_assert_eq!(rest.contains(key), plain[0].contains(&key) && !plain[1].contains(&key));
        }
    }
}
