use super::Node;
use crate::backlog::Reader;
use crate::key::LinkKey;
use crate::offset::Offset;

/// What the primary that is followed from now on may never have had: it goes on from elsewhere, and what this node wrote on
/// its own will be gone once the snapshot is loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lost {
    /// Up to here the new primary had this stream for certain; `None` if nothing is known.
    pub held: Option<Offset>,
    /// The end of this node's own stream.
    pub end: Offset,
    /// From here on its bytes can be [read](Node::read_kept), until the snapshot is loaded; `None` if none are kept.
    pub kept_from: Option<Offset>,
}

/// What a node wrote while it led.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnStretch {
    /// Up to where the new primary had it for certain.
    pub(super) held: Option<Offset>,
}

impl Node {
    /// The new primary's history parted from this one at `at`, as it says itself (for Redis: `second_repl_offset` - 1 in its
    /// INFO, when its `master_replid2` is this node's id): what [`NodeEvent::Diverged`](crate::NodeEvent::Diverged) tells is
    /// exact then. Matters until that event. A place past the end can't be true, and is not believed.
    pub fn handle_parted(&mut self, at: Offset) {
        let end = self.primary.end();
        if let Some(own) = self.own.as_mut().filter(|_| at <= end) {
            own.held = Some(at);
        }
    }

    /// The stream's bytes from `from` on, if they are kept: for a host that saves what would be lost.
    pub fn read_kept(&self, from: Offset) -> Option<Reader<'_>> {
        self.primary.read_kept(from)
    }

    pub(super) fn note_divergence(&mut self, link: LinkKey) {
        let end = self.primary.end();
        if let Some(OwnStretch { held }) = self.own.filter(|own| own.held != Some(end)) {
            self.diverged = Some((link, Lost { held, end, kept_from: self.primary.kept_from() }));
        }
    }
}
