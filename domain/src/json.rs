//! Strict JSON input: an object must be an object.
//!
//! Serde also reads a struct from an array, as its fields in order. So `["too slow"]` would be a
//! request to cancel, and adding or moving a field would change the meaning of such an array.
//! [`Objects`] refuses this, with serde's usual message for a wrong type.

use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// Parses a whole document.
///
/// **Errors.** As `serde_json::from_slice`, and for an array in place of an object.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let value: T = serde::Deserialize::deserialize(Objects(&mut json))?;
    json.end()?;
    Ok(value)
}

/// A deserializer that reads structs from objects only, at every depth. It wraps serde's other
/// deserialization types too, and forwards each call, so it needs no extra pass.
///
/// For an untagged or internally tagged enum, serde first buffers the content and reads it without
/// this wrapper: within one, an array is still accepted.
#[derive(Clone, Copy, Debug)]
pub struct Objects<T>(pub T);

macro_rules! read_as_it_is {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {
        $(
            fn $method<V: Visitor<'de>>(
                self,
                $($argument: $type,)*
                visitor: V,
            ) -> Result<V::Value, Self::Error> {
                self.0.$method($($argument,)* Objects(visitor))
            }
        )*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Objects(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }

    read_as_it_is! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }
}

macro_rules! visited_as_it_is {
    ($($method:ident($type:ty);)*) => {
        $(
            fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
                self.0.$method(value)
            }
        )*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visited_as_it_is! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(fields))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Objects(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(value))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Objects<A> {
    type Error = A::Error;
    type Variant = Objects<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (which, content) = self.0.variant_seed(seed)?;
        Ok((which, Objects(content)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Objects(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Objects(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.newtype_variant_seed(Object(visitor))
    }
}

/// Reads a struct's fields from an object.
struct Object<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Object<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        value.deserialize_map(Objects(self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use rust_decimal::Decimal;
    use serde::Deserialize;
    use serde_json::{Number, Value};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        sku: String,
        #[serde(default)]
        pieces: Option<u32>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Line);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Plain,
        Of(Line),
        With { sku: String },
        Both(String, u32),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Everything {
        line: Line,
        lines: Vec<Line>,
        maybe: Option<Line>,
        wrapped: Wrapped,
        pair: (u8, Line),
        by_name: BTreeMap<String, Line>,
        kinds: Vec<Kind>,
        number: Number,
        amount: Decimal,
        any: Value,
        nothing: (),
    }

    const EVERYTHING: &str = r#"{
        "line": {"sku": "A", "pieces": 6}, "lines": [{"sku": "A"}, {"sku": "B", "pieces": null}],
        "maybe": {"sku": "A"}, "wrapped": {"sku": "A"}, "pair": [1, {"sku": "A"}],
        "by_name": {"a": {"sku": "A"}},
        "kinds": ["plain", {"of": {"sku": "A"}}, {"with": {"sku": "A"}}, {"both": ["A", 1]}],
        "number": 1e3, "amount": "2.50", "any": [1, [2], {"a": []}], "nothing": null, "more": [[]]
    }"#;

    fn is_read<T: DeserializeOwned + Debug + PartialEq>(json: &str) {
        let read = from_slice::<T>(json.as_bytes()).unwrap();
        assert_eq!(read, serde_json::from_str::<T>(json).unwrap());
    }

    #[test]
    fn what_is_documented_is_read_as_ever() {
        is_read::<Everything>(EVERYTHING);
        is_read::<Vec<(u8, String)>>(r#"[[1, "a"], [2, "b"]]"#);
    }

    fn is_refused<T: DeserializeOwned + Debug>(json: &str) {
        assert!(serde_json::from_str::<T>(json).is_ok(), "{json}: refused by serde as well");
        let error = from_slice::<T>(json.as_bytes()).unwrap_err();
        assert!(error.is_data(), "{json}: {error}");
        assert!(error.to_string().starts_with("invalid type: sequence, expected "), "{error}");
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        is_refused::<Line>(r#"["A", 6]"#);
        is_refused::<Vec<Line>>(r#"[{"sku": "A"}, ["A", 6]]"#);
        is_refused::<Option<Line>>(r#"["A", 6]"#);
        is_refused::<Wrapped>(r#"["A", 6]"#);
        is_refused::<(u8, Line)>(r#"[1, ["A", 6]]"#);
        is_refused::<BTreeMap<String, Line>>(r#"{"a": ["A", 6]}"#);
        is_refused::<Kind>(r#"{"of": ["A", 6]}"#);
        is_refused::<Kind>(r#"{"with": ["A"]}"#);
    }

    #[test]
    fn a_document_ends_where_it_ends() {
        assert!(from_slice::<Line>(br#"{"sku": "A"} "#).is_ok());
        assert!(from_slice::<Line>(br#"{"sku": "A"} {}"#).unwrap_err().is_syntax());
        assert!(from_slice::<Line>(br#"{"sku": "A"#).unwrap_err().is_eof());
        assert!(from_slice::<Line>("[".repeat(1_000_000).as_bytes()).is_err());
    }
}
