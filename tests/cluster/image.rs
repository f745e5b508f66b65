use headwater::Framing;
use headwater::Sink as _;
use headwater::wire;

use crate::rng::Rng;
use crate::truth::State;

/// Puts a snapshot of `len` bytes and more as it is sent: the state, and what can be told from it.
pub(crate) fn put(out: &mut Vec<u8>, state: State, len: usize, framing: Framing) {
    let image = encode(state, len);
    if framing == Framing::Sized {
        wire::put_snapshot_len(out, image.len() as u64);
        out.put(&image);
    } else {
        // One that repeats itself could be found within an image that ends as it begins.
        let mark = wire::EndMark::from_random(Rng::new(!state.0).array());
        wire::put_end_mark_header(out, &mark);
        out.put(&image);
        wire::put_end_mark(out, &mark);
    }
}

/// S3: what is loaded is an image, and a whole one; or nothing at all, which nobody can load.
pub(crate) fn decode(image: &[u8]) -> Option<State> {
    if image.is_empty() {
        return None;
    }
    let (state, rest) = image.split_first_chunk().expect("S3: an image has a head");
    let state = State(u64::from_le_bytes(*state));
    let len = rest.len().checked_sub(8).expect("S3: an image tells how long it is");
    assert!(image == encode(state, len), "S3: the image is whole");
    Some(state)
}

fn encode(State(state): State, len: usize) -> Vec<u8> {
    let mut image = state.to_le_bytes().to_vec();
    image.extend((len as u64).to_le_bytes());
    image.extend(Rng::new(state).bytes(len));
    image
}
