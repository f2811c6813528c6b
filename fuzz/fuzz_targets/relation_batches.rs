#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remit_fuzz::relation_batches(bytes));
