//! See [`logstor_fuzz::script`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = logstor_fuzz::script(data);
});
