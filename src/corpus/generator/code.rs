//! Code in three small dialects.

use super::scene::Scene;

/// Functions, loops and strings in three small dialects; names come from the topic.
pub(super) fn code(scene: &mut Scene<'_>, words: usize) {
    let dialect = scene.stream.below(3);
    let blocks = [PYTHON, RUST, SCRIPT][dialect];
    let first = scene.writer.words();
    while scene.writer.words() - first + 30 < words {
        let block = *scene.stream.pick(blocks);
        let block = block.replace('@', &scene.writer.words().to_string());
        scene.expand(&block);
        scene.push("\n\n", &[]);
    }
    let comment = if dialect == 0 { "# " } else { "// " };
    scene.push(comment, &[]);
    scene.expand("end of the {x} module");
}

const PYTHON: &[&str] = &[
    "def {verb#@}_{noun#@}({noun#@}, {adj#@}=<True|False>):\n    \"\"\"{^verb#@} the {noun#@}.\"\"\"\n    if not {adj#@}:\n        return None\n    return {noun#@}.{verb#b@}(\"{noun}\")",
    "def {verb#@}_all({noun#@.s}):\n    result = []\n    for {noun#@} in {noun#@.s}:\n        result.append({verb#@}({noun#@}))\n    return result",
    "{noun#@.s} = [\"{adj}\", \"{adj}\", \"{colour}\"]\nfor {noun#@} in {noun#@.s}:\n    print({noun#@}, len({noun#@.s}))",
    "class {^noun#@}:\n    def __init__(self, {adj#@}, {noun#b@}):\n        self.{adj#@} = {adj#@}\n        self.{noun#b@} = {noun#b@}\n\n    def {verb#@}(self):\n        return self.{noun#b@} + {int}",
    "# {verb#@} the {noun#@} {count} times\nfor i in range({int}):\n    {verb#@}({noun#@}[i])",
    "from {place#@} import {noun#@}, {verb#@}\n\n{noun#b@} = {verb#@}({noun#@}(\"{city}\", {int}))\nassert {noun#b@}.{adj} == {int}",
    "{noun#@} = \\{\"{colour}\": {int}, \"{adj}\": {int}}\nprint({noun#@}[\"{colour}\"])",
    "while {noun#@} > {int}:\n    {noun#@} = {noun#@} - 1\n    print(\"{noun#@} is\", {noun#@})",
];

const RUST: &[&str] = &[
    "fn {verb#@}_{noun#@}({noun#@}: &str, {adj#@}: bool) -\\> usize \\{\n    if {adj#@} \\{\n        return {noun#@}.len();\n    }\n    {int}\n}",
    "let mut {noun#@} = vec![{int}, {int}, {int}];\n{noun#@}.push({int});\nprintln!(\"{noun#@}: \\{:?}\", {noun#@});",
    "pub struct {^noun#@} \\{\n    {adj#@}: bool,\n    {noun#b@}: u32,\n}",
    "// {verb#@} every {noun#@}\nfor {noun#@} in {noun#@.s}.iter() \\{\n    {verb#@}({noun#@}, \"{adj}\");\n}",
    "match {noun#@} \\{\n    Some({verb#@}) =\\> {verb#@} + {int},\n    None =\\> {int},\n}",
    "let {noun#@} = {verb#@}(\"{noun}\", [{int}, {int}]);\nassert_eq!({noun#@}.{verb#b@}(), {int});",
    "while {noun#@} \\< {int} \\{\n    {noun#@} += {verb#@}({noun#@});\n}",
];

const SCRIPT: &[&str] = &[
    "function {verb#@}{^noun#@}({noun#@}) \\{\n  const {noun#b@} = {noun#@}.{verb#b@}(\"{noun}\");\n  return {noun#b@} + {int};\n}",
    "const {noun#@.s} = [\"{adj}\", \"{colour}\", \"{adj}\"];\nfor (const {noun#@} of {noun#@.s}) \\{\n  console.log({noun#@});\n}",
    "let {noun#@} = \\{ {adj#@}: {int}, {adj#b@}: \"{colour}\" };\nif ({noun#@}.{adj#@} \\> {int}) \\{\n  {verb#@}({noun#@}.{adj#b@});\n}",
    "// {verb#@} the {noun#@}\n{verb#@}({noun#@}, \\{ {noun#b@}: [{int}, {int}] });",
    "class {^noun#@} \\{\n  constructor({adj#@}) \\{\n    this.{adj#@} = {adj#@};\n  }\n  {verb#@}() \\{\n    return this.{adj#@};\n  }\n}",
    "setTimeout(() =\\> {verb#@}({noun#@}), {int}00);\nconsole.log(\"{noun#@} is {adj}\");",
];
