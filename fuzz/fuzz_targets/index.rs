//! See [`logstor_fuzz::index`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = logstor_fuzz::index(data);
});
