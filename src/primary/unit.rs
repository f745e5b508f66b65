use bytes::Bytes;

use super::Primary;
use crate::backlog::{Backlog, StreamFull};
use crate::offset::Offset;
use crate::sink::Sink;

/// One unit of the stream in the making: what is put into it becomes readable at once, when it ends.
///
/// Lent by [`Primary::write`] to the closure that applies the write, so nothing else can get into the stream
/// meanwhile.
#[derive(Debug)]
pub struct Unit<'a> {
    primary: &'a mut Primary,
    len: usize,
    stage: UnitStage,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum UnitStage {
    Open,
    TooLarge,
    Ended,
}

/// Names a stretch of the stream in which every reader knows the same of what came before, such as the selected
/// database. A new one begins at each snapshot's cut, each change of history (R7) and each [`Unit::clear`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Context(pub(crate) u64);

impl<'a> Unit<'a> {
    pub(crate) fn open(primary: &'a mut Primary) -> Self {
        Self { primary, len: 0, stage: UnitStage::Open }
    }

    /// Whether anybody wants the stream. If not, what is put goes nowhere, and encoding it may be spared.
    pub fn is_wanted(&self) -> bool {
        self.primary.stream.backlog().is_some()
    }

    /// The context in which this unit is read.
    pub fn context(&self) -> Context {
        self.primary.context
    }

    /// Takes back all that was put, even if it was too much: for a command that changed nothing after all. A new
    /// [`Context`] begins, since nobody will have read it.
    pub fn clear(&mut self) {
        self.discard();
        self.stage = UnitStage::Open;
        self.primary.context.0 += 1;
    }

    /// Ends the unit, and tells where, if any of it has entered the stream.
    pub(crate) fn end(mut self) -> Option<Offset> {
        let too_large = self.stage == UnitStage::TooLarge;
        self.stage = UnitStage::Ended;
        if too_large {
            self.primary.break_history();
            return None;
        }
        (self.len > 0).then(|| self.primary.commit())
    }

    /// Puts `len` bytes by `stage`, unless the unit would be too large.
    #[inline]
    fn put_by(&mut self, len: usize, stage: impl FnOnce(&mut Backlog) -> Result<(), StreamFull>) {
        let most = self.primary.config.max_unit - self.len;
        let Some(backlog) = self.primary.stream.backlog_mut() else { return };
        if self.stage != UnitStage::Open {
            return;
        }
        // `Primary::write` has seen to it that the stream has room for the largest unit.
        if len <= most && stage(backlog).is_ok() {
            self.len += len;
        } else {
            self.stage = UnitStage::TooLarge;
            self.discard();
        }
    }

    fn discard(&mut self) {
        self.len = 0;
        if let Some(backlog) = self.primary.stream.backlog_mut() {
            backlog.discard_staged();
        }
    }
}

impl Sink for Unit<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.put_by(bytes.len(), |backlog| backlog.stage(bytes));
    }

    /// Appends `bytes`, those of 16 KiB and more without a copy: see
    /// [`Backlog::append_shared`](crate::Backlog::append_shared).
    #[inline]
    fn put_shared(&mut self, bytes: Bytes) {
        self.put_by(bytes.len(), |backlog| backlog.stage_shared(bytes));
    }
}

impl Drop for Unit<'_> {
    /// One that was not ended had its closure panic: the data may have moved on without the stream.
    fn drop(&mut self) {
        if self.stage != UnitStage::Ended {
            self.discard();
            self.primary.break_history();
        }
    }
}
