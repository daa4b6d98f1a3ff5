use super::*;

fn given(source: &str) -> ChatTemplate {
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<p>")];
    let tokens = tokens.map(|(role, text)| (role.to_string(), text.to_string())).into();
    ChatTemplate::Given { source: source.into(), tokens }
}

fn rendered(source: &str) -> String {
    let message = |role, content: &str| Message { role, content: content.into() };
    let messages =
        [message(Role::User, "Ask."), message(Role::Assistant, "Answer."), message(Role::User, "More.")];
    given(source).render(&messages).expect("renders")
}

#[test]
fn tags_around_generated_text_change_nothing() {
    let source = |open: &str, close: &str| {
        format!(
            "{{% for m in messages %}}{{% if m.role == 'assistant' %}}\n  {open}\n{{{{ m.content }}}}{close}\n\
             {{% else %}}{{{{ m.role }}}}: {{{{ m.content }}}}\n{{% endif %}}{{% endfor %}}assistant:"
        )
    };
    let plain = rendered(&source("{% if true %}", "{% endif %}"));
    assert_eq!(plain, "user: Ask.\nAnswer.user: More.\nassistant:");
    assert_eq!(rendered(&source("{% generation %}", "{% endgeneration %}")), plain);
    assert_eq!(
        rendered(&source("{%-generation-%}", "{%- endgeneration -%}")),
        rendered(&source("{%-if true-%}", "{%- endif -%}"))
    );
    // A tag without an inside is the engine's to refuse.
    assert!(given("{%}generation{% if true %}").render(&[]).is_err());
    // The same words outside of tags stay.
    assert_eq!(
        rendered("generation {{ 'endgeneration' }} {% if true %}{% endif %}."),
        "generation endgeneration ."
    );
}

#[test]
fn templates_see_what_transformers_gives_them() {
    assert_eq!(
        rendered("{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ unk_token is defined }}"),
        "<s></s><p>False"
    );
    assert_eq!(rendered("{{ tools is none }}{{ documents is none }}"), "TrueTrue");
    assert_eq!(
        rendered("{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%-d %B, %A %H:%M') }}"),
        "01 Jan 2025|1 January, Wednesday 00:00"
    );
    assert_eq!(rendered("{{ {'a': [1, '<é>']} | tojson }}"), r#"{"a": [1, "<é>"]}"#);
    assert_eq!(rendered("{{ {'a': [1]} | tojson(indent=2) }}"), "{\n  \"a\": [\n    1\n  ]\n}");
}
