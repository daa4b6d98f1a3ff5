//! Kinds that are declared as rows of a table: one row per kind, found and stored by its name.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A row of a catalogue.
pub trait Row: Sized + 'static {
    /// Every row, in the order of tables and lists.
    const ALL: &'static [Self];

    /// The name in suites and results; no two rows share one.
    fn name(&self) -> &'static str;
}

/// A row by reference. Two are equal if their names are; it is stored as its name.
pub struct Of<T: 'static>(&'static T);

impl<T: Row> Of<T> {
    /// The row of this name.
    pub fn named(name: &str) -> Option<Self> {
        T::ALL.iter().find(|row| row.name() == name).map(Self)
    }

    /// Every row.
    pub fn all() -> impl Iterator<Item = Self> {
        T::ALL.iter().map(Self)
    }
}

impl<T> Deref for Of<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<T> Copy for Of<T> {}

impl<T> Clone for Of<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Row> PartialEq for Of<T> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl<T: Row> Eq for Of<T> {}

impl<T: Row> fmt::Debug for Of<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<T: Row> fmt::Display for Of<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<T: Row> Serialize for Of<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<T: Row> JsonSchema for Of<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "kind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = T::ALL.iter().map(Row::name).collect();
        json_schema!({"type": "string", "enum": names})
    }
}
