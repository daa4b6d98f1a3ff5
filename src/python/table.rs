//! Rows of the library as Arrow tables. Other libraries take them over the Arrow PyCapsule interface, without a copy.

use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator};
use arrow_schema::{DataType, Field, FieldRef, Fields};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use serde::{Deserialize, Serialize};
use serde_arrow::schema::{SchemaLike, TracingOptions};

use super::error::failed;
use crate::cli::Failure;

/// A table: one row per item, one column per field, missing values null. `polars.DataFrame(table)` and
/// `pyarrow.table(table)` read it.
#[pyclass(frozen, module = "autointerp")]
pub struct Table {
    rows: RecordBatch,
}

impl Table {
    /// The columns are the fields of `T` in their order, also without rows.
    pub fn of<'de, T: Serialize + Deserialize<'de>>(rows: &[T]) -> PyResult<Self> {
        // A mistake in the declaration of a row, not in any data.
        let bug = |error: serde_arrow::Error| failed(Failure::new(format!("bug: no table: {error}"), 1));
        let options = TracingOptions::default()
            .enums_without_data_as_strings(true)
            .map_as_struct(false)
            .sequence_as_large_list(false)
            .strings_as_large_utf8(false);
        let fields = Vec::<FieldRef>::from_type::<T>(options).map_err(bug)?;
        let fields: Vec<FieldRef> = fields.iter().map(signed).collect();
        Ok(Self { rows: serde_arrow::to_record_batch(&fields, &rows).map_err(bug)? })
    }
}

/// The field with signed counts: differences of unsigned columns would wrap around in data-frame libraries.
fn signed(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(signed).collect::<Fields>()),
        DataType::List(item) => DataType::List(signed(item)),
        DataType::Map(entries, sorted) => DataType::Map(signed(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(kind))
}

#[pymethods]
impl Table {
    /// Names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.rows.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The rows as an Arrow stream. A requested schema is not needed to be met, and is not.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let batches = RecordBatchIterator::new([Ok(self.rows.clone())], self.rows.schema());
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(batches)), c"arrow_array_stream")
    }

    fn __len__(&self) -> usize {
        self.rows.num_rows()
    }

    fn __repr__(&self) -> String {
        let (rows, columns) = (self.rows.num_rows(), self.rows.num_columns());
        format!("<autointerp.Table: {rows} rows, {columns} columns: {}>", self.column_names().join(", "))
    }
}
