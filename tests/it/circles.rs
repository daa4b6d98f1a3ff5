//! Import circles: files of `src` that import each other in a loop, found by reading their `use` declarations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Circles that the house allows: `suite/spec.rs` declares the fields whose schema `suite/schema.rs` derives.
const ALLOWED: usize = 3;

type Module = Vec<String>;

/// A source file without its tests, and the module that it is.
struct File {
    name: String,
    text: String,
    is_folder: bool,
}

fn module_of(inside: &Path) -> Module {
    let parts = inside.with_extension("");
    let mut module: Module =
        parts.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expanded(path: &str) -> Vec<String> {
    let path = path.trim();
    let Some((prefix, rest)) = path.split_once('{') else {
        return vec![path.split(" as ").next().unwrap_or(path).trim().to_string()];
    };
    let body = rest.rsplit_once('}').map_or(rest, |(body, _)| body);
    let (mut parts, mut depth, mut current) = (Vec::new(), 0, String::new());
    for c in body.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(std::mem::take(&mut current));
        } else {
            current.push(c);
        }
    }
    parts.push(current);
    let inner = parts.iter().filter(|part| !part.trim().is_empty());
    inner.flat_map(|part| expanded(&format!("{prefix}{}", part.trim()))).collect()
}

/// Every imported path, and whether it is exported again.
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for declaration in text.split(';') {
        let lines = declaration.lines().skip_while(|line| {
            let line = line.trim_start();
            !(line.starts_with("use ") || (line.starts_with("pub") && line.contains(" use ")))
        });
        let joined = lines.collect::<Vec<_>>().join(" ");
        if let Some((head, path)) = joined.trim_start().split_once("use ")
            && !path.contains("//")
        {
            found.extend(expanded(path).into_iter().map(|path| (head.starts_with("pub"), path)));
        }
    }
    found
}

struct Tree {
    files: BTreeMap<Module, File>,
    uses: BTreeMap<Module, Vec<(bool, String)>>,
}

impl Tree {
    /// A path from the crate's root; none where it leads out of the crate.
    fn absolute(&self, from: &Module, path: &str) -> Option<Module> {
        let mut parts: Vec<&str> = path.split("::").collect();
        let mut base = match parts[0] {
            "crate" => Vec::new(),
            "super" | "self" => from.clone(),
            first if self.files.contains_key(&[from.as_slice(), &[first.to_string()]].concat()) => {
                return Some([from.clone(), parts.iter().map(ToString::to_string).collect()].concat());
            }
            _ => return None,
        };
        if parts[0] == "crate" || parts[0] == "self" {
            parts.remove(0);
        }
        while parts.first() == Some(&"super") {
            base.pop();
            parts.remove(0);
        }
        base.extend(parts.iter().map(ToString::to_string));
        Some(base)
    }

    /// The module that declares what a path names, through at most a few re-exports.
    fn declared_in(&self, path: &[String], depth: usize) -> Option<Module> {
        for length in (1..=path.len()).rev() {
            let module = path[..length].to_vec();
            let Some(exports) = self.uses.get(&module) else { continue };
            let Some(name) = path.get(length).filter(|_| depth < 6) else { return Some(module) };
            let exported =
                exports.iter().find(|(public, path)| *public && path.rsplit("::").next() == Some(name));
            let target = exported.and_then(|(_, inner)| self.absolute(&module, inner));
            let target = target.filter(|target| target.as_slice() != path);
            return target.and_then(|target| self.declared_in(&target, depth + 1)).or(Some(module));
        }
        None
    }

    fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let of = |(module, uses): (&Module, &Vec<(bool, String)>)| {
            let own = uses.iter().filter(|(public, _)| !public);
            let all = own.filter_map(|(_, path)| self.declared_in(&self.absolute(module, path)?, 0));
            (module.clone(), all.filter(|other| other != module).collect())
        };
        self.uses.iter().map(of).collect()
    }
}

fn reachable(imports: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(module) = waiting.pop() {
        for next in imports.get(&module).into_iter().flatten() {
            if seen.insert(next.clone()) {
                waiting.push(next.clone());
            }
        }
    }
    seen
}

#[test]
fn hardly_any_files_import_each_other() {
    let mut tree = Tree { files: BTreeMap::new(), uses: BTreeMap::new() };
    for (_, inside, text) in crate::house::all_sources() {
        if crate::house::is_test(&inside) || inside.components().count() == 1 {
            continue;
        }
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_string();
        let is_folder = inside.file_name().is_some_and(|name| name == "mod.rs");
        let file = File { name: inside.display().to_string(), text, is_folder };
        tree.files.insert(module_of(&inside), file);
    }
    tree.uses = tree.files.iter().map(|(module, file)| (module.clone(), uses(&file.text))).collect();
    assert!(tree.files.values().filter(|file| file.is_folder).count() > 15);
    let imports = tree.imports();
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 1_000, "imports are not seen");
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        imports.keys().map(|module| (module, reachable(&imports, module))).collect();
    let mut circles: BTreeSet<Vec<&str>> = BTreeSet::new();
    for (module, to) in &reached {
        if to.contains(*module) {
            let members =
                to.iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(*module)));
            circles.insert(members.map(|member| tree.files[member].name.as_str()).collect());
        }
    }
    assert!(circles.len() <= ALLOWED, "{} import circles: {circles:#?}", circles.len());
}
