//! Any bytes as a wire record: decodes or names why not; what decodes survives a round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::event::Event;

fuzz_target!(|data: &[u8]| {
    let Ok(event) = Event::decode(data) else { return };
    let mut again = Vec::new();
    event.encode(&mut again);
    // Compared by their bytes: floats and unknown protobuf fields do not occur in our own encoding.
    let event = Event::decode(&again).expect("what we encode, we decode");
    let mut third = Vec::new();
    event.encode(&mut third);
    assert_eq!(again, third);
});
