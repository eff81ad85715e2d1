//! The codecs of the model: a type lists its keys once, and each codec is a form for that list.
//!
//! ```text
//!   Offer, Receipt, Entry, …  ──  record!: key, presence, kind of value
//!        │                                                    │
//!        ├── line    ` size=5 name=a%20b`   crate::preface    ├── a reply ignores unknown keys
//!        ├── json    `"size":5,"name":"a b"`  json            │   and a request refuses them
//!        └── fields  `Content-Length: 5`      fields: HTTP has names of its own
//! ```

pub mod fields;
pub(crate) mod json;
pub(crate) mod kind;

use std::marker::PhantomData;

use serde::Serialize;

use super::file_path::FilePath;
use super::file_time::FileTime;
use kind::{Kind, Nanoseconds, PathText, RawPath, Seconds1970};

/// A type of the model, as a list of keys in a fixed order.
pub(crate) trait Record: Sized + Serialize {
    /// Passes each key and its value to `keys`.
    fn write<W: Writer>(&self, keys: &mut W);

    /// Reads each key from `keys`.
    fn read<R: Reader>(keys: &R) -> Result<Self, R::Error>;
}

/// The writing half of a codec.
pub(crate) trait Writer {
    /// Writes a key with a value.
    fn value<K: Kind>(&mut self, key: &'static str, value: &K::Value);

    /// Writes a key that is set.
    fn flag(&mut self, key: &'static str);

    /// Writes a key that has no value, where readers expect it anyway.
    fn null(&mut self, key: &'static str);

    /// Writes keys that belong together.
    fn group<R: Record>(&mut self, key: &'static str, record: &R);
}

/// The reading half of a codec.
pub(crate) trait Reader {
    type Error;

    /// Reads the value of a key; `None` if the key is absent.
    fn optional_value<K: Kind>(&self, key: &'static str) -> Result<Option<K::Value>, Self::Error>;

    /// Reads the value of a key that must be there.
    fn required_value<K: Kind>(&self, key: &'static str) -> Result<K::Value, Self::Error>;

    /// Reads whether a key is set.
    fn flag(&self, key: &'static str) -> Result<bool, Self::Error>;
}

/// How a field of a record is present.
pub(crate) trait Field {
    type Value;

    fn write<W: Writer>(key: &'static str, value: &Self::Value, keys: &mut W);

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<Self::Value, R::Error>;
}

/// Always present.
pub(crate) struct Required<K>(PhantomData<K>);

impl<K: Kind> Field for Required<K> {
    type Value = K::Value;

    fn write<W: Writer>(key: &'static str, value: &K::Value, keys: &mut W) {
        keys.value::<K>(key, value);
    }

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<K::Value, R::Error> {
        keys.required_value::<K>(key)
    }
}

/// Absent if there is no value.
pub(crate) struct Optional<K>(PhantomData<K>);

impl<K: Kind> Field for Optional<K> {
    type Value = Option<K::Value>;

    fn write<W: Writer>(key: &'static str, value: &Self::Value, keys: &mut W) {
        if let Some(value) = value {
            keys.value::<K>(key, value);
        }
    }

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<Self::Value, R::Error> {
        keys.optional_value::<K>(key)
    }
}

/// Without a value `null` in JSON, absent in a line.
pub(crate) struct Nullable<K>(PhantomData<K>);

impl<K: Kind> Field for Nullable<K> {
    type Value = Option<K::Value>;

    fn write<W: Writer>(key: &'static str, value: &Self::Value, keys: &mut W) {
        match value {
            Some(value) => keys.value::<K>(key, value),
            None => keys.null(key),
        }
    }

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<Self::Value, R::Error> {
        keys.optional_value::<K>(key)
    }
}

/// A text that counts as absent if it is empty.
pub(crate) struct Filled<K>(PhantomData<K>);

impl<K: Kind<Value = String>> Field for Filled<K> {
    type Value = Option<String>;

    fn write<W: Writer>(key: &'static str, value: &Self::Value, keys: &mut W) {
        Optional::<K>::write(key, value, keys);
    }

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<Self::Value, R::Error> {
        Ok(keys.optional_value::<K>(key)?.filter(|text| !text.is_empty()))
    }
}

/// Absent if it is zero.
pub(crate) struct OrZero<K>(PhantomData<K>);

impl<K: Kind<Value = u64>> Field for OrZero<K> {
    type Value = u64;

    fn write<W: Writer>(key: &'static str, value: &u64, keys: &mut W) {
        Optional::<K>::write(key, &Some(*value).filter(|value| *value > 0), keys);
    }

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<u64, R::Error> {
        Ok(keys.optional_value::<K>(key)?.unwrap_or(0))
    }
}

/// Present if it is true: a word of a line, `true` in JSON.
pub(crate) struct Flag;

impl Field for Flag {
    type Value = bool;

    fn write<W: Writer>(key: &'static str, value: &bool, keys: &mut W) {
        if *value {
            keys.flag(key);
        }
    }

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<bool, R::Error> {
        keys.flag(key)
    }
}

/// The path of a stored file: `name`, and its bytes in `name_raw` where the text is not exactly
/// that.
pub(crate) struct Name;

impl Field for Name {
    type Value = FilePath;

    fn write<W: Writer>(key: &'static str, path: &FilePath, keys: &mut W) {
        keys.value::<PathText>(key, path);
        if path.raw().is_some() {
            keys.value::<RawPath>("name_raw", path);
        }
    }

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<FilePath, R::Error> {
        match keys.optional_value::<RawPath>("name_raw")? {
            Some(path) => Ok(path),
            None => keys.required_value::<PathText>(key),
        }
    }
}

/// A time: `mtime`, and `mtime_ns` where it is exact. Nanoseconds without seconds are ignored, as
/// an unknown key is.
pub(crate) struct Time;

impl Field for Time {
    type Value = FileTime;

    fn write<W: Writer>(key: &'static str, time: &FileTime, keys: &mut W) {
        keys.value::<Seconds1970>(key, &time.seconds);
        Optional::<Nanoseconds>::write("mtime_ns", &time.nanoseconds, keys);
    }

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<FileTime, R::Error> {
        let seconds = keys.required_value::<Seconds1970>(key)?;
        Ok(FileTime { seconds, nanoseconds: keys.optional_value::<Nanoseconds>("mtime_ns")? })
    }
}

/// The same, absent if the time is unknown.
pub(crate) struct OptionalTime;

impl Field for OptionalTime {
    type Value = Option<FileTime>;

    fn write<W: Writer>(key: &'static str, time: &Self::Value, keys: &mut W) {
        if let Some(time) = time {
            Time::write(key, time, keys);
        }
    }

    fn read<R: Reader>(key: &'static str, keys: &R) -> Result<Self::Value, R::Error> {
        let nanoseconds = keys.optional_value::<Nanoseconds>("mtime_ns")?;
        let seconds = keys.optional_value::<Seconds1970>(key)?;
        Ok(seconds.map(|seconds| FileTime { seconds, nanoseconds }))
    }
}

/// Keys of another record: an object in JSON, keys like the others in a line.
pub(crate) struct Group<T>(PhantomData<T>);

impl<T: Record + Default + PartialEq> Field for Group<T> {
    type Value = T;

    fn write<W: Writer>(key: &'static str, record: &T, keys: &mut W) {
        if *record != T::default() {
            keys.group(key, record);
        }
    }

    // Only a receipt has one, whose JSON serde reads.
    fn read<R: Reader>(_: &'static str, keys: &R) -> Result<T, R::Error> {
        T::read(keys)
    }
}

/// Lists the fields of a type in the order in which all codecs write them. `[key: presence = f]`
/// stands before the field that follows it, and is computed and written, but not read.
macro_rules! record {
    ($type:ident {
        $($([$derived:ident: $as:ty = $of:expr])? $field:ident: $presence:ty),+ $(,)?
    }) => {
        impl $crate::transfer::codec::Record for $type {
            fn write<W: $crate::transfer::codec::Writer>(&self, keys: &mut W) {
                use $crate::transfer::codec::Field;
                $(
                    $(<$as as Field>::write(stringify!($derived), &$of(self), keys);)?
                    <$presence as Field>::write(stringify!($field), &self.$field, keys);
                )+
            }

            fn read<R: $crate::transfer::codec::Reader>(keys: &R) -> Result<Self, R::Error> {
                use $crate::transfer::codec::Field;
                Ok(Self { $($field: <$presence as Field>::read(stringify!($field), keys)?),+ })
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::transfer::codec::json::serialize(self, serializer)
            }
        }
    };
}
pub(crate) use record;
