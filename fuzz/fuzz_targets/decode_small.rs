//! See [`logstor_fuzz::decode_small`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = logstor_fuzz::decode_small(data);
});
