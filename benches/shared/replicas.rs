use std::thread::{self, JoinHandle};

use bytes::Buf;
use headwater::shared::{Sender, SharedNode, Step};
use headwater::{Ack, Framing, Image, Level, Offset, Tag, Timeout, Wait, WaitEnded, Wanted};

use crate::logs::{self, peer};

/// A node whose replicas are online. Each has a thread that sends to it, and acknowledges what was sent.
pub(crate) struct Replicated {
    pub(crate) node: SharedNode,
    senders: Vec<JoinHandle<()>>,
}

impl Replicated {
    pub(crate) fn new(replicas: usize) -> Self {
        let node = logs::node();
        let run = |_| {
            let (sender, node, start) = (online(&node), node.clone(), node.end());
            thread::spawn(move || send(sender, &node, start))
        };
        let senders = (0..replicas).map(run).collect();
        Self { node, senders }
    }

    /// Until all replicas hold the whole stream.
    pub(crate) fn drain(&self) {
        let end = self.node.wait(wait(self.node.end(), self.senders.len())).expect("there is room");
        assert_eq!(end.how, WaitEnded::Satisfied);
    }
}

impl Drop for Replicated {
    fn drop(&mut self) {
        self.node.shutdown();
        for sender in self.senders.drain(..) {
            sender.join().expect("it was told");
        }
    }
}

pub(crate) const fn wait(target: Offset, replicas: usize) -> Wait {
    Wait { target, replicas, level: Level::Applied, local: false, timeout: Timeout::Never, tag: Tag(0) }
}

/// What sends to a replica that has been through a full sync.
pub(crate) fn online(node: &SharedNode) -> Sender {
    let (mut sender, _) = node.attach(Wanted::Everything, peer()).expect("there is room");
    let image = Image { framing: Framing::Sized, replayable: true, size: None };
    let cut = node.begin_snapshot(image, |cut| cut).expect("somebody waits");
    node.handle_snapshot_ready(cut.snapshot).expect("it is not over");
    assert!(matches!(sender.next(), Step::SendSnapshot { .. }));
    sender.handle_snapshot_sent();
    node.handle_ack(sender.replica(), Ack::applied(cut.offset)).expect("it was sent that");
    sender
}

/// Counts what a socket would be given.
fn send(mut sender: Sender, node: &SharedNode, mut held: Offset) {
    let replica = sender.replica();
    loop {
        match sender.next() {
            Step::Stream(batch) => {
                let bytes = batch.remaining();
                batch.advance(bytes);
                held = held.checked_add(bytes as u64).expect("no stream is that long");
                node.handle_ack(replica, Ack::applied(held)).expect("it was sent that");
            }
            Step::Closed(_) => return,
            Step::SendSnapshot { .. } | Step::KeepAlive => {}
        }
    }
}
