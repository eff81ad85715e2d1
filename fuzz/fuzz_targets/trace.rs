#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| anyport_fuzz_laws::trace(input));
