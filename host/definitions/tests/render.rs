//! Prompts as they are sent.

use nexus_definitions::{PromptTemplate, RenderError, limits, render};
use nexus_model::{MessageTemplate, ModelParameters, Prompt, PromptExample, Role};
use serde_json::json;

fn prompt(templates: &[&str]) -> Prompt {
    let message = |content: &&str| MessageTemplate { role: Role::User, content: (*content).to_owned() };
    Prompt {
        path: "prompts/x.prompt.yml".to_owned(),
        name: String::new(),
        description: String::new(),
        model: "small".to_owned(),
        parameters: ModelParameters::default(),
        messages: templates.iter().map(message).collect(),
        examples: Vec::new(),
        tests: std::sync::Arc::default(),
    }
}

fn rendered(template: &str, input: &serde_json::Value) -> Result<String, RenderError> {
    render(&prompt(&[template]), input).map(|messages| messages[0].content.clone())
}

#[test]
fn messages_keep_their_order_and_roles() {
    let mut prompt = prompt(&["You sort.", "{{ input.text }}"]);
    prompt.messages[0].role = Role::System;
    let template = PromptTemplate::compile(&prompt).unwrap();
    for text in ["a", "b"] {
        let messages = template.render(&json!({ "text": text })).unwrap();
        assert_eq!(messages.iter().map(|m| m.role).collect::<Vec<_>>(), [Role::System, Role::User]);
        assert_eq!(messages[1].content, text);
    }
}

#[test]
fn fields_of_the_input_are_there_by_their_names() {
    let input = json!({ "text": "a", "range": "mine", "input": "inner", "n": { "m": 1 } });
    assert_eq!(rendered("{{text}} {{ n.m }} {{ input.text }}", &input).unwrap(), "a 1 a");
    assert_eq!(rendered("{{ input.input }}", &input).unwrap(), "inner", "`input` is the whole");
    assert_eq!(rendered("{% for i in range(2) %}{{ i }}{% endfor %}", &input).unwrap(), "01", "no field is a function");
    assert_eq!(rendered("{{input}}", &json!("whole")).unwrap(), "whole");
    let template = "{% set text = 'own' %}{{ text }}{% for n in [7] %}{{ n }}{% endfor %}";
    assert_eq!(rendered(template, &input).unwrap(), "own7", "what a template names itself is its own");
}

#[test]
fn examples_come_before_the_last_message_of_the_user() {
    let mut prompt = prompt(&["Sort.", "Of {{ topic|default('all') }}:", "{{ text }}"]);
    prompt.messages[0].role = Role::System;
    let example = |text: &str, output| PromptExample { input: json!({ "text": text }), output };
    prompt.examples = vec![example("a", json!({ "label": "good" })), example("b", json!("bad"))];
    let messages = render(&prompt, &json!({ "text": "c", "topic": "mails" })).unwrap();
    let said: Vec<_> = messages.iter().map(|message| (message.role, message.content.as_str())).collect();
    assert_eq!(
        said,
        [
            (Role::System, "Sort."),
            (Role::User, "Of mails:"),
            (Role::User, "a"),
            (Role::Assistant, r#"{"label":"good"}"#),
            (Role::User, "b"),
            (Role::Assistant, r#""bad""#),
            (Role::User, "c"),
        ]
    );
    prompt.examples.push(example(&"x".repeat(limits::RENDERED_BYTES), json!(1)));
    assert_eq!(render(&prompt, &json!({ "text": "c" })), Err(RenderError::TooLong));
    prompt.examples = vec![PromptExample { input: json!({}), output: json!(1) }];
    assert!(matches!(render(&prompt, &json!({ "text": "c" })), Err(RenderError::Input { message: 2, .. })));
}

#[test]
fn an_input_is_never_a_template() {
    for text in [
        "{{ 7 * 7 }}",
        "{% for i in range(9) %}x{% endfor %}",
        "{# gone #}",
        "}}{{ input }}",
        "{% raw %}",
        "{{ debug() }}",
    ] {
        assert_eq!(rendered("{{ input.text }}", &json!({ "text": text })).unwrap(), text);
        let named = json!({ text: text });
        assert_eq!(rendered("{% for k in input %}{{ k }}{% endfor %}", &named).unwrap(), text);
    }
}

#[test]
fn nothing_is_escaped() {
    let text = "<b>\"Ä\" & 'ö'</b>";
    assert_eq!(rendered("<i>{{ input.text }}</i>", &json!({ "text": text })).unwrap(), format!("<i>{text}</i>"));
}

#[test]
fn json_reads_as_json() {
    let input = json!({"list": [1, 2.5, null, true, "x"]});
    assert_eq!(rendered("{{ input.list|tojson }}", &input).unwrap(), r#"[1, 2.5, null, true, "x"]"#);
}

#[test]
fn undefined_is_an_error() {
    for template in ["{{ input.nothing }}", "{{ other }}", "{{ input.text.nothing }}"] {
        let error = rendered(template, &json!({"text": "x"})).unwrap_err();
        assert!(matches!(error, RenderError::Input { message: 0, .. }), "{error}");
    }
    assert_eq!(rendered("{{ input.nothing|default('-') }}", &json!({})).unwrap(), "-");
}

#[test]
fn a_broken_template_does_not_compile() {
    let error = PromptTemplate::compile(&prompt(&["fine", "{{ input.text"])).unwrap_err();
    assert!(matches!(error, RenderError::Compile { message: 1, .. }), "{error}");
}

#[test]
fn a_chain_that_would_overflow_the_stack_does_not_compile() {
    let chain = ".a".repeat(100_000);
    let error = PromptTemplate::compile(&prompt(&[&format!("{{{{ input{chain} }}}}")])).unwrap_err();
    assert!(matches!(error, RenderError::Compile { message: 0, .. }), "{error}");
}

#[test]
fn the_longest_chains_fit_a_small_stack() {
    let chains = ["+a", "~a", " or a", "**a", "|e", "()", " if a else a", ".a"];
    let mut templates: Vec<String> = chains
        .iter()
        .map(|c| format!("{{{{ a{} }}}}", c.repeat((limits::TAG_BYTES - 1) / c.replace(' ', "").len())))
        .collect();
    templates.push(format!("{{{{ {}a }}}}", "-".repeat(limits::TAG_BYTES - 1)));
    templates.push(format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(limits::BLOCK_TAGS - 2)));
    let compile = move || {
        for template in templates {
            PromptTemplate::compile(&prompt(&[&template])).unwrap();
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(compile).unwrap().join().unwrap();
}

#[test]
fn work_is_bounded() {
    let many = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let doubling = "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
    for template in [many, doubling] {
        assert_eq!(rendered(template, &json!({})), Err(RenderError::Fuel { message: 0 }));
    }
}

#[test]
fn the_output_is_bounded_over_all_messages() {
    let half = json!({ "text": "x".repeat(limits::RENDERED_BYTES / 2) });
    let fits = render(&prompt(&["{{ input.text }}", "{{ input.text }}"]), &half).unwrap();
    assert_eq!(fits.iter().map(|m| m.content.len()).sum::<usize>(), limits::RENDERED_BYTES);
    assert_eq!(render(&prompt(&["{{ input.text }}", "{{ input.text }}", "x"]), &half), Err(RenderError::TooLong));
}
