//! Replays every corpus, and some bytes of no meaning, without a fuzzer.

use std::path::Path;

use anyport_fuzz_laws::TARGETS;
use anyport_testkit::noise;

#[test]
fn corpora_hold_the_laws() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, law) in TARGETS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpora.join(name)).unwrap() {
            law(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}

#[test]
fn noise_and_nothing_hold_the_laws() {
    for (_, law) in TARGETS {
        law(&[]);
        for seed in 0..200 {
            law(&noise(usize::try_from(seed).unwrap() * 7, seed));
        }
    }
}
