use std::path::{Path, PathBuf};

use super::fixture;
use super::view::View;
use super::*;

const HOSTILE: &str = "\"><script>alert(1)</script>|x\n\u{202E}_{$\\input}'";

fn drawn(made: &fixture::Made) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("temporary folder");
    fixture::write(made, folder.path());
    let files = render(folder.path(), &RenderOptions::default()).expect("rendered");
    (folder, files)
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).expect("readable")
}

#[test]
fn a_run_folder_becomes_tables_charts_and_a_page() {
    let made = fixture::make(4);
    let started = crate::base::Stopwatch::start();
    let (folder, files) = drawn(&made);
    println!("rendered {} files in {:.2} s", files.len(), started.elapsed().as_secs_f64());
    let names: Vec<String> = files
        .iter()
        .map(|path| path.strip_prefix(folder.path()).expect("inside").display().to_string())
        .collect();
    for name in [
        "table.md",
        "table.csv",
        "table.tex",
        "index.html",
        "charts/scores_by_layer.hook_resid_post.neuron_to_graph.svg",
        "charts/scores_by_layer.hook_resid_post.token_lookup_fit.png",
        "charts/score_distributions.neuron_to_graph_backoff.svg",
        "charts/score_sparsity.neuron_to_graph.png",
        "charts/sparsity_fvu.svg",
    ] {
        assert!(names.iter().any(|other| other == name), "{name} is missing from {names:?}");
    }
    for path in &files {
        let bytes = std::fs::read(path).expect("readable");
        assert!(!bytes.is_empty(), "{}", path.display());
        if path.extension().is_some_and(|extension| extension == "png") {
            assert!(bytes.starts_with(b"\x89PNG"), "{}", path.display());
        } else {
            let text = String::from_utf8(bytes).expect("text");
            assert!(!text.contains("NaN") && !text.contains("inf,"), "{}", path.display());
        }
    }
}

#[test]
fn drawing_twice_gives_the_same_bytes_and_stale_charts_go() {
    let (folder, files) = drawn(&fixture::make(2));
    let before: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).expect("readable")).collect();
    let stale = folder.path().join("charts/score_sparsity.gone.svg");
    let foreign = folder.path().join("charts/mine.svg");
    for path in [&stale, &foreign] {
        write_atomic(path, b"<svg/>").expect("written");
    }
    assert_eq!(render(folder.path(), &RenderOptions::default()).expect("rendered"), files);
    let after: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).expect("readable")).collect();
    assert!(before == after);
    assert!(!stale.exists() && foreign.exists());
}

#[test]
fn the_summary_survives_a_round_trip_and_missing_numbers_are_null() {
    let summary = fixture::make(4).summary;
    let json = summary.to_json().expect("JSON");
    assert!(json.ends_with("}\n") && json.contains("\"mean\": null") && !json.contains("NaN"));
    assert_eq!(Summary::from_json(&json, Path::new("summary.json")).expect("read"), summary);
    let order =
        ["\"hook\"", "\"method\"", "\"protocol\"", "\"explainer\"", "\"scorer\"", "\"mean\"", "\"tally\""];
    let places: Vec<usize> = order.iter().map(|key| json.find(key).expect("present")).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn a_summary_without_the_added_fields_still_reads() {
    let json = r#"{"schema":1,"suite":"s","run":"r","cells":[{"hook":"h","method":"m","protocol":"standard",
        "explainer":"e","simulator":"e","control":null,"scorer":"top_only","mean":null,"ci_low":null,"ci_high":null,
        "confidence":0.95,"interval_method":null,"mean_defined":null,"n_defined":0,"mean_by_density":null,
        "n_requested":3,"n_scored":0,"tally":{"scored":0,"undefined":0,"failed":0,"skipped":{"dead":3}}}],
        "quality":[],"differences":[]}"#;
    let summary = Summary::from_json(json, Path::new("summary.json")).expect("read");
    assert_eq!(summary.cells[0].tally.requested(), 3);
    let table = table::markdown(&View::new(&summary));
    assert!(table.contains("| h | m | — | 0/3 | 0 | 0 | 0 | dead 3 | — | — |"), "{table}");
}

#[test]
fn an_unknown_schema_is_refused_with_a_hint() {
    let error = Summary::from_json("{\"schema\":2}", Path::new("x/summary.json")).expect_err("refused");
    let message = error.to_string();
    assert!(
        message.contains("schema 2")
            && message.contains("x/summary.json")
            && message.contains("run the suite again")
    );
    let folder = tempfile::tempdir().expect("temporary folder");
    assert!(matches!(render(folder.path(), &RenderOptions::default()), Err(ReportError::NoSummary { .. })));
    write_atomic(&folder.path().join("summary.json"), b"{").expect("written");
    assert!(matches!(render(folder.path(), &RenderOptions::default()), Err(ReportError::Json { .. })));
}

#[test]
fn a_broken_score_line_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fixture::write(&fixture::make(1), folder.path());
    let mut lines = text(folder.path(), "scores.jsonl");
    let n = lines.lines().count();
    lines.push_str("{\"hook\": 3}\n");
    write_atomic(&folder.path().join("scores.jsonl"), lines.as_bytes()).expect("written");
    let message = render(folder.path(), &RenderOptions::default()).expect_err("refused").to_string();
    assert!(message.contains(&format!("line {}", n + 1)), "{message}");
}

#[test]
fn the_markdown_table_says_what_became_of_every_feature() {
    let made = fixture::make(1);
    let table = table::markdown(&View::new(&made.summary));
    let head = "| hook point | method | top_and_random | beyond_token | top_only | random_only | population | \
                scored/requested | constant | undefined | failed | skipped | eligible | repeating tokens | note |";
    assert!(table.contains(head), "{table}");
    let row =
        table.lines().find(|line| line.starts_with("| blocks.0.hook_resid_post | ica |")).expect("a row");
    assert!(
        row.contains("†") && row.contains("dead 4, too_few_fragments 7") && row.contains("40/54"),
        "{row}"
    );
    assert!(row.contains("80 %") && row.contains("1,834"), "{row}");
    assert!(table.contains("*topk (control: random_weights)*"));
    assert!(table.contains("given these dictionaries and this corpus"));
    assert!(table.contains("under-trained") && table.contains("topk higher than ica in this score"));
    let columns = row.matches(" | ").count();
    assert_eq!(columns, head.matches(" | ").count(), "{row}");
}

#[test]
fn a_lookup_scores_zero_beyond_token_and_its_constants_are_counted() {
    let made = fixture::make(1);
    let table = table::markdown(&View::new(&made.summary));
    let lookup = table.split("## token_lookup_fit").nth(1).expect("a section");
    let row = lookup.lines().find(|line| line.contains("| sae |")).expect("a row");
    assert!(row.contains("| 0.00 |") && row.contains("beyond_token 40"), "{row}");
}

#[test]
fn a_protocol_with_its_own_interval_shows_bca_beside_it() {
    let mut summary = fixture::make(1).summary;
    for cell in &mut summary.cells {
        cell.interval_method = Some("normal".into());
        (cell.bca_low, cell.bca_high) = (Some(0.123), Some(0.456));
    }
    let table = table::markdown(&View::new(&summary));
    assert!(table.contains("; BCa [0.12, 0.46]") && table.contains("normal (± 1.96 SE) interval"), "{table}");
    assert!(!table.contains('†'));
}

#[test]
fn csv_has_every_cell_and_nothing_for_a_missing_number() {
    let made = fixture::make(4);
    let csv = table::cells_csv(&made.summary);
    assert_eq!(csv.lines().count(), made.summary.cells.len() + 1);
    let fields = csv.lines().next().expect("a head").split(',').count();
    let empty = csv
        .lines()
        .find(|line| line.contains("blocks.3.hook_resid_post,ica,") && line.contains(",population,"))
        .expect("the undefined cell");
    assert!(empty.contains("population,,,,0.95,,,0,,54,0,"), "{empty}");
    for line in csv.lines().filter(|line| !line.contains('"')) {
        assert_eq!(line.split(',').count(), fields, "{line}");
    }
}

#[test]
fn tex_is_balanced() {
    let made = fixture::make(1);
    let tex = table::tex(&View::new(&made.summary));
    assert_eq!(tex.matches("\\begin{").count(), tex.matches("\\end{").count());
    assert!(tex.contains("\\toprule") && tex.contains("pca\\_oriented") && !tex.contains('—'));
    for line in tex.lines().filter(|line| line.ends_with("\\\\")) {
        let bare = line.replace("\\_", "").replace("\\%", "").replace("\\&", "");
        assert!(!bare.contains('%') && !bare.contains('_'), "{line}");
    }
}

#[test]
fn an_empty_summary_still_gives_a_page() {
    let made = fixture::Made {
        summary: Summary { schema: SCHEMA, suite: "empty".into(), ..Summary::default() },
        lines: Vec::new(),
    };
    let (folder, _) = drawn(&made);
    assert!(text(folder.path(), "index.html").contains("No feature was eligible"));
    assert!(
        terminal_table(&made.summary, Look { width: 80, ink: Ink::None }).contains("no feature was eligible")
    );
}

#[test]
fn hostile_text_is_shown_and_never_run() {
    let mut made = fixture::make(1);
    made.summary.suite = HOSTILE.into();
    made.summary.run = HOSTILE.into();
    for cell in &mut made.summary.cells {
        if cell.method == "sae" {
            cell.method = HOSTILE.into();
            cell.note = Some(HOSTILE.into());
            cell.tally.skipped.insert(HOSTILE.into(), 1);
        }
        if cell.explainer == "token_lookup_fit" {
            cell.explainer = HOSTILE.into();
        }
    }
    for ranking in &mut made.summary.rankings {
        ranking.note = Some(HOSTILE.into());
        if ranking.explainer == "token_lookup_fit" {
            ranking.explainer = HOSTILE.into();
        }
        for row in ranking.rows.iter_mut().filter(|row| row.method == "sae") {
            (row.method, row.letters, row.reason) = (HOSTILE.into(), HOSTILE.into(), Some(HOSTILE.into()));
        }
    }
    made.summary.quality[0].note = Some(HOSTILE.into());
    made.summary.differences[0].method_b = HOSTILE.into();
    made.lines.clear();
    let (folder, files) = drawn(&made);
    for path in &files {
        assert_eq!(
            path.components().count(),
            folder.path().components().count()
                + if path.parent().is_some_and(|p| p.ends_with("charts") || p.ends_with("features")) {
                    2
                } else {
                    1
                }
        );
    }
    let page = text(folder.path(), "index.html");
    assert_eq!(page.matches("<script").count(), 3, "the theme, the data and the script of the page");
    for bad in ["<script>alert", "\u{202E}", "javascript:"] {
        assert!(!page.contains(bad), "the page contains {bad:?}");
    }
    assert!(page.contains("&lt;script&gt;") && page.contains("&lt;U+202E&gt;"));
    let markdown = text(folder.path(), "table.md");
    assert!(!markdown.contains("<script") && !markdown.contains('\u{202E}'));
    let head = markdown.lines().find(|line| line.starts_with("| hook point | method |")).expect("a head");
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    for line in markdown
        .lines()
        .filter(|line| line.starts_with("| blocks.0") && line.contains("alert") && line.contains("/55"))
    {
        assert_eq!(cells(line), cells(head), "{line}");
    }
    let tex = text(folder.path(), "table.tex");
    assert!(!tex.contains("\\input") && tex.contains("\\textbackslash{}input"));
    let csv = text(folder.path(), "table.csv");
    assert_eq!(csv.lines().count(), made.summary.cells.len() + 1);
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "svg")) {
        let svg = std::fs::read_to_string(path).expect("readable");
        assert!(!svg.contains("<script") && !svg.contains('\u{202E}'), "{}", path.display());
    }
    let look = Look { width: 100, ink: Ink::None };
    let verdict = terminal_verdict(&Findings::new(&made.summary), look);
    let terminal = format!("{verdict}{}", terminal_table(&made.summary, look));
    assert!(!terminal.contains('\u{202E}') && terminal.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn the_index_says_what_was_asked_and_what_must_be_known() {
    let mut made = fixture::make(2);
    made.summary
        .quality
        .iter_mut()
        .filter(|row| row.method == "ica")
        .for_each(|row| row.converged = Some(false));
    let (folder, _) = drawn(&made);
    let page = text(folder.path(), "index.html");
    for must in [
        "beyond_token",
        "What these scores can show, and what they cannot",
        "random_weights",
        "avx512f",
        "seed 7",
        "did not converge, so the dictionary is in doubt: ica at blocks.0.hook_resid_post, ica at blocks.1.hook_resid_post.",
        "Dead features, which have no score: 32 of 512 in sae at blocks.0.hook_resid_post",
        "token patterns looked up in text, no language model",
        "href=\"features/blocks.1.hook_resid_post--topk.html\"",
        "href=\"features.html\"",
    ] {
        assert!(page.contains(must), "the page lacks {must:?}");
    }
    // Marks have tooltips with their numbers.
    assert!(page.contains("data-tip=\"topk: 0."), "marks without words");
}

#[test]
fn the_index_and_the_markdown_open_with_the_verdict() {
    let made = fixture::make(2);
    let findings = Findings::new(&made.summary);
    let (folder, _) = drawn(&made);
    let page = text(folder.path(), "index.html");
    let place = |what: &str| page.find(what).unwrap_or_else(|| panic!("the page lacks {what:?}"));
    let order = [
        "<h1",
        "id=\"verdict\"",
        "class=\"standing\"",
        "id=\"asked-facts\"",
        "<figure",
        "id=\"glance-table\"",
    ];
    assert!(order.map(place).is_sorted(), "{:?}", order.map(place));
    assert!(page.contains("<a href=\"#warnings\">"), "warnings are below, so the top names them");
    assert_eq!(page.matches("class=\"standing\"").count(), findings.rankings.len());
    for (nth, heads) in page.split("class=\"standing\"").skip(1).enumerate() {
        assert!(heads.contains("<caption>") && heads.contains("scope=\"col\""), "table {nth}");
        assert!(heads.matches("<svg class=\"bar\"").count() >= 12, "table {nth}");
    }
    let markdown = text(folder.path(), "table.md");
    let (verdict, rest) = markdown.split_once("\n## Scores\n").expect("the scores below");
    assert!(verdict.contains("## The verdict") && rest.contains("## neuron_to_graph"));
    for sentence in &findings.sentences {
        assert!(verdict.contains(&sentence.text), "{}", sentence.text);
        assert!(sentence.text.split('`').all(|part| page.contains(part)), "{}", sentence.text);
    }
    let head = "| place | method | top_and_random | letters | shuffled | random_weights | token_lookup_fit |";
    let rows = verdict.split(head).nth(1).expect("the table of the primary score");
    assert!(rows.lines().skip(2).take(12).all(|line| line.matches(" | ").count() == 6), "{rows}");
}

#[test]
fn the_index_stays_small_and_links_what_has_no_room() {
    let mut made = fixture::make(6);
    // Unplanned comparisons of every explainer and score, as in a real run.
    for row in made.summary.differences.clone() {
        for (explainer, scorer) in
            fixture::EXPLAINERS.iter().flat_map(|one| fixture::SCORERS.map(|two| (one, two)))
        {
            let names = (explainer.to_string(), scorer.to_string());
            let family = Family::Exploratory;
            made.summary.differences.push(DifferenceRow {
                explainer: names.0,
                scorer: names.1,
                family,
                ..row.clone()
            });
        }
    }
    let (folder, files) = drawn(&made);
    let page = text(folder.path(), "index.html");
    println!("{} bytes, {} charts inside", page.len(), page.matches(" data-inline").count());
    for name in page.split("<figure ").skip(1).filter_map(|rest| rest.split('>').next()) {
        println!("  {name}");
    }
    assert!(page.len() <= 300_000, "{}", page.len());
    assert!(
        page.contains("data-inline data-chart=\"scores_averaged.neuron_to_graph\""),
        "the chart that a page opens with"
    );
    for link in page.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(files.contains(&folder.path().join(link)), "{link}");
    }
    assert_eq!(page.contains(" src=\""), page.contains("img-src 'self'"));
    let mut made = fixture::make(1);
    made.lines.clear();
    made.summary.cells.retain(|cell| cell.explainer == fixture::EXPLAINERS[0]);
    made.summary.rankings.retain(|ranking| ranking.explainer == fixture::EXPLAINERS[0]);
    let (folder, _) = drawn(&made);
    let page = text(folder.path(), "index.html");
    assert!(!page.contains(" src=\"") && page.contains("img-src 'none'"), "a small run links nothing");
}

#[test]
fn planned_differences_show_the_adjusted_interval_and_older_runs_the_unadjusted_one() {
    let mut made = fixture::make(1);
    let (folder, _) = drawn(&made);
    let (markdown, tex) = (text(folder.path(), "table.md"), text(folder.path(), "table.tex"));
    let page = text(folder.path(), "index.html");
    for shown in [&markdown, &page] {
        assert!(shown.contains("0.13 [0.03, 0.23]") && !shown.contains("0.13 [0.06, 0.20]"), "{shown}");
    }
    assert!([&markdown, &tex].iter().all(|shown| shown.contains("In brackets: adjusted 95 ")));
    assert!(page.contains("in brackets the adjusted 95 % interval"));
    let csv = text(folder.path(), "differences.csv");
    assert!(
        csv.starts_with("hook,scorer,")
            && csv.lines().next().is_some_and(|head| head.ends_with(",adjusted_low,adjusted_high"))
    );

    for row in &mut made.summary.differences {
        (row.adjusted_low, row.adjusted_high) = (None, None);
    }
    let mut older: serde_json::Value =
        serde_json::from_str(&made.summary.to_json().expect("JSON")).expect("JSON");
    older.as_object_mut().expect("an object").remove("rankings").expect("rankings");
    made.summary =
        Summary::from_json(&older.to_string(), Path::new("summary.json")).expect("an older summary");
    assert!(made.summary.rankings.is_empty());
    let (folder, _) = drawn(&made);
    let markdown = text(folder.path(), "table.md");
    assert!(markdown.contains("0.13 [0.06, 0.20]") && !markdown.contains("adjusted 95 % interval"));
}

#[test]
fn hook_points_without_layers_are_drawn_by_name() {
    let mut made = fixture::make(2);
    for cell in &mut made.summary.cells {
        cell.hook =
            cell.hook.replace("blocks.0.hook_resid_post", "hook_embed").replace("blocks.1", "blocks.x");
    }
    made.lines.clear();
    let (folder, files) = drawn(&made);
    let chart = folder.path().join("charts/scores_by_layer.unlayered.neuron_to_graph.svg");
    assert!(files.contains(&chart), "{files:?}");
    assert!(std::fs::read_to_string(chart).expect("readable").contains("hook_embed"));
}

#[test]
fn patching_has_its_tables_and_a_run_without_a_task_shows_nothing_of_it() {
    let made = patching_fixture::made(2);
    let (folder, files) = drawn(&made);
    let markdown = text(folder.path(), "table.md");
    for shown in [
        "## Patching on a task",
        "### Order: attribution",
        "### Order: acdc",
        "| 9 [7.7, 10] |",
        "| 60 [51, 69] |",
        "more features, more divergence than topk",
        "2 for answer of several tokens",
    ] {
        assert!(markdown.contains(shown), "{shown} is not in {markdown}");
    }
    assert!(markdown.contains(patching_fixture::NEVER) && markdown.contains("its codes are no share"));
    let tex = text(folder.path(), "table.tex");
    assert!(tex.contains("Patching, order attribution.") && !tex.contains('‖') && !tex.contains('′'));
    let csv = text(folder.path(), "patching.csv");
    let head: Vec<&str> = csv.lines().next().expect("a head").split(',').collect();
    assert_eq!(&head[..4], ["task", "hook", "method", "control"]);
    let task = made.summary.patching.as_ref().expect("a task");
    let points: usize =
        task.dictionaries.iter().flat_map(|one| &one.curves).map(|curve| curve.points.len()).sum();
    assert_eq!(csv.lines().count(), 1 + points);
    let topk = csv.lines().find(|line| line.contains(",topk,,attribution,false,64,8,")).expect("a point");
    assert_eq!(topk.split(',').count(), head.len(), "{topk}");
    let undefined = csv.lines().find(|line| line.contains(",neuron,,attribution,")).expect("a point");
    assert!(undefined.ends_with(&format!(",,,,{}", patching_fixture::NEVER)), "{undefined}");
    let differences = text(folder.path(), "patching_differences.csv");
    assert_eq!(differences.lines().count(), 1 + task.differences.len());
    assert!(files.iter().any(|path| path.ends_with("patching.csv")));

    // The same run without its task: nothing is left of it.
    let without = fixture::Made { summary: Summary { patching: None, ..made.summary }, lines: made.lines };
    fixture::write(&without, folder.path());
    render(folder.path(), &RenderOptions::default()).expect("rendered");
    for name in ["patching.csv", "patching_differences.csv", "charts/patching_features.attribution.svg"] {
        assert!(!folder.path().join(name).exists(), "{name}");
    }
    for name in ["table.md", "table.tex", "index.html"] {
        let shown = text(folder.path(), name).to_lowercase();
        assert!(!shown.contains("patching"), "{name}");
    }
}

#[test]
fn erasure_has_its_tables_and_a_concept_of_any_name_is_escaped() {
    let hostile = "\"><script>alert(1)</script>|x";
    let made = erasure_fixture::made(hostile);
    let folder = tempfile::tempdir().expect("a temporary folder");
    fixture::write(&made, folder.path());
    render(folder.path(), &RenderOptions::default()).expect("rendered");
    let markdown = text(folder.path(), "table.md");
    let (_, section) = markdown.split_once("## Erasure of concepts").expect("a section");
    assert!(section.contains("8 [7.2, 8.8]") && section.contains(erasure_fixture::NEVER), "{section}");
    assert!(section.contains("24 held-out prompts of 80") && section.contains("3 for repeated"), "{section}");
    assert!(section.contains("it only encodes") && section.contains("mean_projection"));
    let csv = text(folder.path(), "erasure.csv");
    // Of two dictionaries: two curves of four points, and two baselines.
    assert_eq!(csv.lines().count(), 1 + 2 * (2 * 4 + 2));
    let page = text(folder.path(), "index.html");
    assert!(page.contains("<h2 id=\"erasure\">") && page.contains("href=\"erasure.csv\""));
    assert!(!page.contains("<script>alert(1)"), "escaped");
    assert!(!fixture::make(1).summary.to_json().expect("JSON").contains("\"erasure\""));
}
