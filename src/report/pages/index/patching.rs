//! The section about patching on a task: charts and the table of the main order.

use minijinja::context;
use minijinja::value::Value;

use crate::report::escape::visible;
use crate::report::patched::Patched;
use crate::report::schema::Summary;
use crate::report::table::{patched_head, patched_rows, patched_what};

/// The section for the template, with its large charts and its thumbnails; none without a task.
pub fn section(summary: &Summary, [charts, others]: [Vec<Value>; 2]) -> Option<Value> {
    let patched = Patched::of(summary)?;
    let order = patched.orders.first().copied().unwrap_or_default();
    let rows = patched_rows(&patched, order).into_iter().map(|row| {
        context! {
            hook => visible(&row.hook),
            method => visible(&row.method),
            is_control => row.is_control,
            cells => row.cells.map(|cell| visible(&cell)),
        }
    });
    Some(context! {
        task => visible(&patched.task.task),
        order => visible(order),
        head => patched_head(&patched).map(|name| visible(&name)),
        rows => rows.collect::<Vec<_>>(),
        what => visible(&patched_what(&patched)),
        charts,
        others,
    })
}
