#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fanfare_server::fuzz::jwt(input));
