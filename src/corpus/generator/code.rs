//! Source code in three dialects: Python, Rust and JavaScript.

use std::sync::LazyLock;

use super::lexicon::{Templates, blocks};
use super::scene::Scene;

static PYTHON: Templates = LazyLock::new(|| blocks(include_str!("templates/python.txt")));
static RUST: Templates = LazyLock::new(|| blocks(include_str!("templates/rust.txt")));
static JAVASCRIPT: Templates = LazyLock::new(|| blocks(include_str!("templates/javascript.txt")));

/// Writes functions, loops and strings in one dialect. Names come from the topic.
pub(super) fn code(scene: &mut Scene, words: usize) {
    let dialect = scene.stream.below(3);
    let templates = [&PYTHON, &RUST, &JAVASCRIPT][dialect];
    let first = scene.writer.words();
    while scene.writer.words() - first + 30 < words {
        let template = scene.stream.pick(templates);
        // Identifiers repeat within a block, not between blocks.
        let block = template.replace('@', &scene.writer.words().to_string());
        scene.expand(&block);
        scene.push("\n\n", &[]);
    }
    let comment = if dialect == 0 { "# " } else { "// " };
    scene.push(comment, &[]);
    scene.expand("end of the {x} module");
}
