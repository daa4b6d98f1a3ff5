//! Files of a model that are none, or ask for more than they are worth: one message that names the file, the documented
//! exit code, at once.

use std::fs;

use serde_json::{Value, json};

use crate::program::{Done, call};
use crate::toy::Toy;

fn harvest(toy: &Toy) -> Done {
    toy.write("ids.json", "[[1, 2, 3]]");
    let (model, ids, out) = (toy.arg("model"), toy.arg("ids.json"), toy.arg("out.safetensors"));
    let hook = "blocks.0.hook_resid_post";
    let args = ["harvest", "--model", &model, "--token-ids", &ids, "--hooks", hook, "--out", &out];
    let done = call(toy.home(), &args);
    assert!(!toy.path("out.safetensors").exists(), "a file was written");
    done
}

const FILES: [&str; 4] = ["config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json"];

#[test]
fn pointers_and_pages_in_place_of_files() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n";
    for (content, told) in [(pointer, "git lfs pull"), ("<!DOCTYPE html>\n<html></html>", "HTML page")] {
        for file in FILES {
            let toy = Toy::new();
            toy.write(&format!("model/{file}"), content);
            harvest(&toy).refused(6, &[file, told]);
        }
    }
}

#[cfg(unix)]
#[test]
fn special_files_in_place_of_files() {
    use std::os::unix::fs::symlink;
    for file in FILES {
        let toy = Toy::new();
        let path = toy.path("model").join(file);
        let replace = || drop(fs::remove_file(&path));
        replace();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("run").success());
        harvest(&toy).refused(6, &[file, "a pipe"]);
        for (target, told) in [("/dev/zero", "a device"), (path.to_str().expect("UTF-8"), "symbolic links")] {
            replace();
            symlink(target, &path).expect("linked");
            harvest(&toy).refused(6, &[file, told]);
        }
        replace();
        fs::create_dir(&path).expect("made");
        harvest(&toy).refused(6, &[file, "a folder"]);
    }
}

#[test]
fn a_text_file_of_ten_gigabytes() {
    for file in ["config.json", "tokenizer.json"] {
        let toy = Toy::new();
        // Sparse, so that nothing of it is on the disk.
        let large = fs::File::options().write(true).open(toy.path("model").join(file)).expect("opened");
        large.set_len(10 << 30).expect("grown");
        harvest(&toy).refused(6, &[file, "128 MB"]);
    }
}

#[test]
fn sizes_and_numbers_of_a_configuration() {
    for field in
        ["num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "intermediate_size"]
    {
        for value in [json!(1u64 << 31), json!(1u64 << 63), json!(0), json!(-1), json!(2.5), json!("2")] {
            refused_with(field, value);
        }
    }
    for field in ["layer_norm_eps", "rotary_emb_base"] {
        for value in [json!(-1.0), json!(0.0), json!(1e30), json!("x")] {
            refused_with(field, value);
        }
    }
}

fn refused_with(field: &str, value: Value) {
    let toy = Toy::new();
    let text = fs::read(toy.path("model/config.json")).expect("config.json");
    let mut config: Value = serde_json::from_slice(&text).expect("JSON");
    config[field] = value;
    toy.write("model/config.json", &config.to_string());
    harvest(&toy).refused(8, &["config.json", field]);
}
