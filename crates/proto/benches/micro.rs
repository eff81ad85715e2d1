//! The small loops that every byte or every frame goes through: `cargo bench -p anyport-proto`.
//!
//! What a whole transfer costs is another question: `anyport bench` (docs/BENCH.md). These show
//! whether a change of one loop is worth asking it.
#![expect(clippy::unwrap_used, reason = "benches")]

use std::hint::black_box;

use anyport_proto::detect::detect;
use anyport_proto::limits::Limits;
use anyport_proto::ws::header::{Rsv1, decode, encode};
use anyport_proto::ws::{Header, Mask, Opcode, Receiver, Role};
use anyport_testkit::noise;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A chat message, a page, the buffer of the bulk loop, and more than fits the caches near the
/// core.
const PIECES: [usize; 4] = [125, 4096, 256 * 1024, 16 * 1024 * 1024];

fn mask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for size in PIECES {
        let mut data = noise(size, 1);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("apply", size), &size, |bencher, _| {
            let mut mask = Mask::new(black_box([0x12, 0x34, 0x56, 0x78]));
            bencher.iter(|| mask.apply(black_box(&mut data)));
        });
    }
    // A cut in the middle of a key: the phase is carried, and no piece begins on a border of four.
    let mut data = noise(256 * 1024 + 1, 2);
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.bench_function("apply odd pieces/262145", |bencher| {
        let mut mask = Mask::new(black_box([0x12, 0x34, 0x56, 0x78]));
        bencher.iter(|| data.chunks_mut(1021).for_each(|piece| mask.apply(black_box(piece))));
    });
    group.finish();
}

fn header(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    group.throughput(Throughput::Elements(1));
    for length in [125, 65_535, 1 << 30] {
        let key = Some([1, 2, 3, 4]);
        let header = Header { fin: true, compressed: false, opcode: Opcode::Binary, key, length };
        let wire = encode(&header);
        group.bench_with_input(BenchmarkId::new("decode", length), &wire, |bencher, wire| {
            bencher.iter(|| decode(black_box(wire), Role::Server, Rsv1::Reserved));
        });
        group.bench_with_input(BenchmarkId::new("encode", length), &header, |bencher, header| {
            bencher.iter(|| encode(black_box(header)));
        });
    }
    group.finish();
}

/// The receiving machine over one read of the bulk loop, for frames from chat to bulk.
fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive 256 KiB");
    for payload in [125_usize, 4096, 64 * 1024, 256 * 1024 - 14] {
        let header = Header {
            fin: true,
            compressed: false,
            opcode: Opcode::Binary,
            key: Some([1, 2, 3, 4]),
            length: payload as u64,
        };
        let mut wire = Vec::new();
        while wire.len() + payload + 14 <= 256 * 1024 {
            wire.extend_from_slice(&encode(&header));
            wire.resize(wire.len() + payload, 0x5a);
        }
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_with_input(BenchmarkId::new("frames of", payload), &payload, |bencher, _| {
            // Unmasking in place changes the payload and leaves the headers, so one wire serves
            // every turn.
            let mut receiver = Receiver::new(Role::Server, &Limits::default());
            bencher.iter(|| {
                let mut rest = black_box(&mut wire[..]);
                while !rest.is_empty() {
                    let (used, event) = receiver.feed(rest).unwrap();
                    black_box(event);
                    rest = &mut std::mem::take(&mut rest)[used..];
                }
            });
        });
    }
    group.finish();
}

fn detection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("detect");
    let limits = Limits::default();
    let request = b"GET /rooms/lobby HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n";
    let frame = [&[0x82, 0xff][..], &[0, 0, 0, 0, 0, 4, 0, 0], &[1, 2, 3, 4], &[7; 64]].concat();
    let noise = noise(8192, 3);
    let inputs: [(&str, &[u8]); 5] = [
        ("http1", request),
        ("preface", b"ANYPORT/1 PUT photo.jpg size=3000007\n"),
        ("tls", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 9, 9, 9, 9, 9]),
        ("frame", &frame),
        ("raw", &noise),
    ];
    for (name, prefix) in inputs {
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::from_parameter(name), prefix, |bencher, prefix| {
            bencher.iter(|| detect(black_box(prefix), black_box(&limits)));
        });
    }
    group.finish();
}

criterion_group!(micro, mask, header, receive, detection);
criterion_main!(micro);
