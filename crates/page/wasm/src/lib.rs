//! BLAKE3 for browsers, which have no hash function that accepts content piece by piece.
//!
//! One instance has one digest: a second one is a second instance. The host writes at most
//! `capacity()` bytes at `input()` before each `update(length)`; after `finish()` the digest is at
//! `input()`.
#![no_std]

use core::cell::UnsafeCell;

use blake3::Hasher;

/// A value that exported functions share.
struct Shared<T>(UnsafeCell<T>);

// SAFETY: the module has no shared memory, so an instance has one thread.
unsafe impl<T> Sync for Shared<T> {}

static INPUT: Shared<[u8; CAPACITY]> = Shared(UnsafeCell::new([0; CAPACITY]));
static HASHER: Shared<Option<Hasher>> = Shared(UnsafeCell::new(None));

/// Returns the address of the input and of the digest.
#[unsafe(no_mangle)]
pub extern "C" fn input() -> *mut u8 {
    INPUT.0.get().cast()
}

/// Returns the size of the input in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn capacity() -> usize {
    CAPACITY
}

/// Begins a digest.
#[unsafe(no_mangle)]
pub extern "C" fn init() {
    // SAFETY: no other reference exists: functions of one thread do not interrupt each other.
    unsafe { *HASHER.0.get() = Some(Hasher::new()) };
}

/// Adds the first `length` bytes of the input; more than the capacity add nothing.
#[unsafe(no_mangle)]
pub extern "C" fn update(length: usize) {
    // SAFETY: as in `init`.
    let hasher = unsafe { &mut *HASHER.0.get() };
    // SAFETY: as in `init`; the host writes only between calls.
    let input = unsafe { &*INPUT.0.get() };
    if let (Some(hasher), Some(bytes)) = (hasher, input.get(..length)) {
        hasher.update(bytes);
    }
}

/// Writes the digest of all bytes since `init` over the first 32 of the input.
#[unsafe(no_mangle)]
pub extern "C" fn finish() {
    // SAFETY: as in `init`.
    let hasher = unsafe { &*HASHER.0.get() };
    // SAFETY: as in `init`.
    let input = unsafe { &mut *INPUT.0.get() };
    if let (Some(hasher), Some((digest, _))) = (hasher, input.split_first_chunk_mut()) {
        *digest = *hasher.finalize().as_bytes();
    }
}

/// Ends the instance: the host gets an exception.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

const CAPACITY: usize = 256 * 1024;
