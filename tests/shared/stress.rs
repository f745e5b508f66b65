//! Everything at once: 8 writers, 200 callers that wait, 8 replicas, a host that makes images, and a node that gives its role up
//! and takes it back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Buf;
use headwater::shared::{Events, Sender, SharedNode, Step};
use headwater::{
    Ack, Answer, AttachError, Config, Event, NodeEvent, Offset, Peer, ReplicaConfig, ReplicationId, Sink,
    SnapshotKey, Start, Tag, Timeout, Wait, WaitEnded, WaitError, Wanted, WriteRefused,
};

use crate::host::{SIZED, wait};

const WRITERS: u64 = 8;
const WRITES: u64 = 2000;
const CALLERS: u64 = 200;
const WAITS: u64 = 10;
const REPLICAS: usize = 8;
const DEMOTIONS: usize = 200;

struct Store {
    node: SharedNode,
    data: Mutex<Vec<u8>>,
    images: Mutex<BTreeMap<SnapshotKey, Vec<u8>>>,
    ids: AtomicU64,
    /// How many waits ended in each way: satisfied, timed out, by a demotion.
    ends: [AtomicU64; 3],
    is_over: AtomicBool,
}

#[test]
fn each_replica_gets_the_order_of_the_data_and_each_wait_ends_once() {
    let mut config = Config::default();
    config.sync_backoff = None;
    config.max_send = 512; // so that there are many batches
    let (node, events) = SharedNode::spawn(config, Start::Empty { id: fresh(0) }).unwrap();
    let (data, images, ends) = Default::default();
    let (ids, is_over) = (AtomicU64::new(1), AtomicBool::new(false));
    let store = Arc::new(Store { node, data, images, ids, ends, is_over });
    let host = spawn(&store, move |store| store.act(events));
    let replicas = [(); REPLICAS].map(|()| spawn(&store, Store::replicate));
    while store.node.report().replicas.len() < REPLICAS {
        thread::yield_now(); // from here on all that is written is in the stream
    }
    let callers: Vec<_> = (0..CALLERS).map(|caller| spawn(&store, move |store| store.wait(caller))).collect();
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| spawn(&store, move |store| store.write(writer))).collect();
    spawn(&store, Store::change_roles).join().unwrap();
    writers.into_iter().chain(callers).for_each(|thread| thread.join().unwrap());

    let end = store.node.wait(wait(store.node.end(), REPLICAS)).unwrap();
    assert_eq!(end.how, WaitEnded::Satisfied);
    let ended = store.ends.iter().map(|count| count.load(Ordering::SeqCst)).sum::<u64>();
    assert_eq!(ended, CALLERS * WAITS);
    assert_eq!(store.node.report().waiters, 0);
    store.is_over.store(true, Ordering::SeqCst);
    store.node.shutdown();
    host.join().unwrap();
    let data = store.data.lock().unwrap();
    assert_eq!(data.len() as u64, WRITERS * WRITES * 9);
    for replica in replicas {
        assert!(replica.join().unwrap() == *data, "its bytes are not those of the data, in their order");
    }
}

fn spawn<T: Send + 'static>(
    store: &Arc<Store>,
    run: impl FnOnce(&Store) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let store = Arc::clone(store);
    thread::spawn(move || run(&store))
}

fn fresh(number: u64) -> ReplicationId {
    let mut bytes = [0x5a; 20];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    ReplicationId::from_random(bytes)
}

impl Store {
    fn fresh(&self) -> ReplicationId {
        fresh(self.ids.fetch_add(1, Ordering::SeqCst))
    }

    fn act(&self, mut events: Events) {
        while let Some(event) = events.recv() {
            match event {
                NodeEvent::Primary(Event::IdWanted) => self.node.supply_id(self.fresh()).unwrap(),
                NodeEvent::Primary(Event::SnapshotWanted { .. }) => self.make_image(),
                NodeEvent::Primary(Event::SnapshotOver { snapshot }) => {
                    self.images.lock().unwrap().remove(&snapshot);
                }
                _ => {}
            }
        }
    }

    fn make_image(&self) {
        let view = |cut| (cut, self.data.lock().unwrap().clone());
        let Ok((cut, image)) = self.node.begin_snapshot(SIZED, view) else { return };
        self.images.lock().unwrap().insert(cut.snapshot, image);
        let _ = self.node.handle_snapshot_ready(cut.snapshot);
    }

    fn write(&self, writer: u64) {
        for number in 0..WRITES {
            let bytes = format!("{writer:02}.{number:05};");
            let apply = |unit: &mut headwater::Unit<'_>| {
                self.data.lock().unwrap().extend(bytes.bytes());
                unit.put(bytes.as_bytes());
            };
            while let Err(refused) = self.node.write(apply) {
                assert!(matches!(refused, WriteRefused::Following), "{refused}");
                thread::yield_now();
            }
        }
    }

    fn wait(&self, caller: u64) {
        for number in 0..WAITS {
            let replicas = usize::try_from((caller + number) % (REPLICAS as u64 + 1)).unwrap();
            let timeout = match caller % 3 {
                0 => Timeout::Never,
                1 => Timeout::After(Duration::from_millis(number)),
                _ => Timeout::After(Duration::from_secs(3600)),
            };
            let end = loop {
                match self.node.wait(Wait { timeout, ..wait(self.node.end(), replicas) }) {
                    Ok(end) => break end,
                    Err(refused) => assert_eq!(refused, WaitError::Following),
                }
                thread::yield_now();
            };
            let place = match end.how {
                WaitEnded::Satisfied if end.acked >= replicas => 0,
                WaitEnded::TimedOut if caller % 3 == 1 => 1,
                WaitEnded::NoLongerPrimary => 2,
                _ => panic!("{end:?} of {replicas} replicas, {timeout:?}"),
            };
            self.ends[place].fetch_add(1, Ordering::SeqCst);
        }
    }

    fn change_roles(&self) {
        for number in 0..DEMOTIONS {
            let target = self.node.end();
            let _ = self.node.wait(wait(target, number % REPLICAS));
            self.node.with(|node, now| node.follow(ReplicaConfig::default(), None, now)).unwrap();
            self.node.with(|node, now| node.promote(self.fresh(), now)).unwrap();
        }
    }

    /// Comes back whenever it is closed, and goes on from where it was.
    fn replicate(&self) -> Vec<u8> {
        let (mut held, mut at) = (Vec::new(), None);
        while !self.is_over.load(Ordering::SeqCst) {
            let wanted = at.map_or(Wanted::Everything, |(id, offset)| Wanted::After { id, offset });
            match self.node.attach(wanted, Peer::new(Tag(7), "10.0.0.9")) {
                Ok((mut sender, answer)) => {
                    if let (Answer::Continue { id, .. }, Some((held, offset))) = (answer, &mut at) {
                        *held = id;
                        let _ = self.node.handle_ack(sender.replica(), Ack::applied(*offset));
                    }
                    self.receive(&mut sender, &mut held, &mut at);
                }
                Err(refused) => assert!(matches!(refused, AttachError::NotInStep | AttachError::IdWanted)),
            }
            thread::yield_now();
        }
        held
    }

    fn receive(&self, sender: &mut Sender, held: &mut Vec<u8>, at: &mut Option<(ReplicationId, Offset)>) {
        let replica = sender.replica();
        loop {
            match sender.next() {
                Step::Stream(batch) => {
                    let (_, offset) = at.as_mut().expect("an image or an answer came before");
                    *offset = offset.checked_add(batch.remaining() as u64).unwrap();
                    held.extend(batch.copy_to_bytes(batch.remaining()));
                }
                Step::SendSnapshot { cut, .. } => {
                    let Some(image) = self.images.lock().unwrap().get(&cut.snapshot).cloned() else { return };
                    (*held, *at) = (image, Some((cut.id, cut.offset)));
                    sender.handle_snapshot_sent();
                }
                Step::KeepAlive => continue,
                Step::Closed(_) => return,
            }
            let (_, offset) = at.expect("set in either step");
            let _ = self.node.handle_ack(replica, Ack::applied(offset)); // it may have been dropped meanwhile
        }
    }
}
