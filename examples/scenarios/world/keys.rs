use std::ops::Range;

/// The data of a store: which keys it holds. Neighbours are kept as one run, so millions take little memory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Keys {
    /// In order, and none touches the next.
    runs: Vec<Range<u64>>,
}

impl Keys {
    pub fn from_range(keys: Range<u64>) -> Self {
        Self { runs: vec![keys] }
    }

    pub fn insert(&mut self, key: u64) {
        if let Some(last) = self.runs.last_mut()
            && last.end == key
        {
            last.end += 1;
            return;
        }
        let place = self.runs.partition_point(|run| run.end <= key);
        if self.runs.get(place).is_some_and(|run| run.start <= key) {
            return;
        }
        self.runs.insert(place, key..key + 1);
        self.join(place);
        self.join(place.saturating_sub(1));
    }

    pub fn contains(&self, key: u64) -> bool {
        let place = self.runs.partition_point(|run| run.end <= key);
        self.runs.get(place).is_some_and(|run| run.start <= key)
    }

    pub fn len(&self) -> u64 {
        self.runs.iter().map(|run| run.end - run.start).sum()
    }

    /// Those that `other` lacks.
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for run in &self.runs {
            let mut from = run.start;
            for held in other.runs.iter().filter(|held| held.end > run.start && held.start < run.end) {
                rest.push(from..held.start);
                from = from.max(held.end);
            }
            rest.push(from..run.end);
        }
        rest
    }

    fn push(&mut self, run: Range<u64>) {
        if !run.is_empty() {
            self.runs.push(run);
        }
    }

    /// Makes one run of that at `place` and the next, if they touch.
    fn join(&mut self, place: usize) {
        if let [run, next, ..] = &mut self.runs[place..]
            && run.end == next.start
        {
            run.end = next.end;
            self.runs.remove(place + 1);
        }
    }
}
