//! Expressions in, values and messages out.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::{Budget, Failed, Program, Type, Value, Variables, to_json};

fn object() -> Json {
    json!({"name": "web-1", "replicas": 3, "ratio": 0.5, "labels": {"app": "a", "my-key": "b"}, "ports": [80, 443],
        "containers": [{"name": "x", "image": "r.io/x:1"}, {"name": "y", "image": "other/y"}], "none": null,
        "when": "2026-11-22T20:25:06Z"})
}

fn run(text: &str) -> Result<Json, String> {
    let declared = HashMap::from([("self".to_owned(), Type::Dyn)]);
    let program = Program::compile(text, &declared).map_err(|refused| refused.0)?;
    let variables = Variables::from([("self", Value::from(&object()))]);
    let value = program.run(&variables, &mut Budget::default());
    value
        .map(|value| to_json(&value))
        .map_err(|failed| failed.to_string())
}

#[track_caller]
fn gives(text: &str, wanted: Json) {
    assert_eq!(run(text), Ok(wanted), "{text}");
}

#[track_caller]
fn holds(text: &str) {
    gives(text, json!(true));
}

#[test]
fn literals_and_arithmetic() {
    gives("1 + 2 * 3 - -4", json!(11));
    gives("7 / 2", json!(3));
    gives("-7 % 3", json!(-1));
    gives("1.5 * 2.0", json!(3.0));
    gives("0x1F", json!(31));
    gives("5u + 1u", json!(6));
    gives(r#""a\tb" + 'c' + r'\d' + """x"y""""#, json!("a\tbc\\dx\"y"));
    gives("[1, 2] + [3]", json!([1, 2, 3]));
    gives("{'a': 1}['a']", json!(1));
    gives("true ? 'yes' : 'no' // why not", json!("yes"));
    holds("1 == 1.0 && 2 > 1.5 && 1u < 2");
    holds("b'ab' == bytes('ab') && 'ä' == '\\u00e4'");
    assert_eq!(run("9223372036854775807 + 1"), Err("integer overflow".to_owned()));
    assert_eq!(run("1 / 0"), Err("division by zero".to_owned()));
}

#[test]
fn fields_and_presence() {
    gives("self.labels.app", json!("a"));
    gives("self.labels['my-key']", json!("b"));
    gives("self.labels.my__dash__key", json!("b"));
    holds("has(self.labels.app) && !has(self.labels.other) && 'app' in self.labels && 443 in self.ports");
    gives("self.ports[1]", json!(443));
    gives("size(self.containers) + self.name.size()", json!(7));
    assert_eq!(run("self.nothing"), Err("no such key: nothing".to_owned()));
    assert_eq!(run("self.ports[2]"), Err("index out of bounds: 2".to_owned()));
    holds("self.none == null && type(self.none) == null_type && type(1) == int");
}

#[test]
fn what_does_not_matter_may_fail() {
    holds("self.nothing == 1 || true");
    holds("true || self.nothing == 1");
    gives("self.nothing == 1 && false", json!(false));
    assert!(run("self.nothing == 1 || false").is_err());
    holds("self.ports.exists(p, p / 0 == 1 || p == 443)");
}

#[test]
fn macros_go_through_lists_and_maps() {
    holds("self.containers.all(c, c.image.contains('/'))");
    holds("self.containers.exists_one(c, c.image.startsWith('r.io/'))");
    gives("self.containers.map(c, c.name)", json!(["x", "y"]));
    gives(
        "self.containers.map(c, c.name == 'y', c.image)",
        json!(["other/y"]),
    );
    gives("self.ports.filter(p, p > 100)", json!([443]));
    holds("self.labels.all(key, key.size() > 2)");
    holds("self.ports.all(i, p, p > i) && self.labels.exists(k, v, k == 'app' && v == 'a')");
    gives("self.ports.transformList(i, p, p + i)", json!([80, 444]));
    gives(
        "self.labels.transformMap(k, v, v + '!')",
        json!({"app": "a!", "my-key": "b!"}),
    );
    gives("[1, 2].map(x, [3].map(y, x * y))", json!([[3], [6]]));
}

#[test]
fn optional_values() {
    gives("self.?labels.?app.orValue('none')", json!("a"));
    gives("self.?labels.other.orValue('none')", json!("none"));
    gives("self.labels[?'other'].or(optional.of('z')).value()", json!("z"));
    gives("self.?nothing.deep.hasValue()", json!(false));
    gives("self.?labels.app.optMap(v, v + '2').orValue('')", json!("a2"));
    holds("optional.ofNonZeroValue('').hasValue() == false && optional.none() == optional.none()");
}

#[test]
fn functions_of_texts() {
    holds("self.name.matches('^web-[0-9]+$') && matches('abc', 'b')");
    gives("'a,b,c'.split(',').join('-')", json!("a-b-c"));
    gives("'tacocat'.substring(0, 4) + 'Ab'.lowerAscii()", json!("tacoab"));
    gives("'hello'.replace('l', 'L', 1).indexOf('l')", json!(3));
    gives(
        "'%s has %d and %.2f'.format(['x', 3, 1.5])",
        json!("x has 3 and 1.50"),
    );
    gives("'abc 123 9'.findAll('[0-9]+')", json!(["123", "9"]));
    gives("'äbc'.charAt(1) + ' x '.trim()", json!("bx"));
    gives("int('42') + size(string(7))", json!(43));
    assert!(run("int('x')").is_err());
    assert!(
        run("'a'.matches('(')")
            .unwrap_err()
            .starts_with("error parsing regexp")
    );
}

#[test]
fn times_addresses_urls_and_quantities() {
    gives("timestamp(self.when).getFullYear()", json!(2026));
    holds("timestamp('2026-01-01T00:00:00Z') + duration('1h30m') == timestamp('2026-01-01T01:30:00Z')");
    gives("duration('90m').getHours()", json!(1));
    gives("timestamp(self.when).getHours('+02:00')", json!(22));
    holds("isIP('10.0.0.1') && !isIP('10.0.0.256') && ip('::1').isLoopback() && ip('1.2.3.4').family() == 4");
    holds("cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsCIDR('11.0.0.0/16')");
    gives(
        "url('https://u@a.b:8080/x%20y?q=1&q=2').getHost()",
        json!("a.b:8080"),
    );
    holds("url('https://a.b/p?q=1&q=2').getQuery()['q'] == ['1', '2'] && !isURL('nonsense')");
    holds(
        "quantity('1.5Gi').isGreaterThan(quantity('1G')) && quantity('2').add(quantity('500m')).compareTo(quantity('2500m')) == 0",
    );
    holds("[1, 3].isSorted() && [3, 1].sum() == 4 && sets.contains([1, 2], [2]) && [3, 1].max() == 3");
}

#[test]
fn what_is_not_known_is_refused_before_it_runs() {
    let refused = |text: &str| run(text).unwrap_err();
    assert_eq!(
        refused("self.a + foo"),
        "ERROR: <input>:1:10: undeclared reference to 'foo' (in container '')\n | self.a + foo\n | .........^"
    );
    assert!(refused("self.frobnicate()").contains("undeclared reference to 'frobnicate'"));
    assert!(refused("'a'.startsWith()").contains("found no matching overload for 'startsWith'"));
    assert!(refused("1 + 'a'").contains("found no matching overload for '_+_' applied to '(int, string)'"));
    assert!(refused("'a' && true").contains("found no matching overload"));
    assert!(refused("self.").contains("Syntax error"));
    assert!(refused("(1").contains("mismatched input '<EOF>' expecting ')'"));
    assert!(refused("'abc").contains("unterminated"));
    assert!(refused(&"(".repeat(5000)).contains("recursion limit"));
    assert!(refused(&"!".repeat(5000)).contains("recursion limit"));
    assert!(refused(&". ".repeat(49_000)).contains("mismatched input '.' expecting 'name'"));
    assert!(refused(&format!("1{}", "+1".repeat(5000))).contains("recursion limit"));
}

#[test]
fn fields_of_known_types_are_checked() {
    let spec = Type::Object(std::sync::Arc::new([("a".to_owned(), Type::Int)].into()));
    let declared = HashMap::from([("self".to_owned(), spec)]);
    assert_eq!(
        Program::compile("self.a > 1", &declared).map(|program| program.kind),
        Ok(Type::Bool)
    );
    let refused = Program::compile("self.b > 1", &declared).unwrap_err();
    assert!(refused.0.contains("undefined field 'b'"), "{refused}");
    let refused = Program::compile_to("self.a", &declared, &[Type::Bool]).unwrap_err();
    assert_eq!(refused.0, "must evaluate to bool");
    assert!(Program::compile("self.a == 'x'", &declared).is_err());
}

#[test]
fn a_run_ends_when_it_has_cost_enough() {
    let list = "[1,2,3,4,5,6,7,8,9,10]";
    let mut text = "a+b+c+d+e+f > 0".to_owned();
    for name in ["a", "b", "c", "d", "e", "f"] {
        text = format!("{list}.all({name}, {text})");
    }
    let program = Program::compile(&text, &HashMap::new()).unwrap();
    let mut budget = Budget::default();
    assert_eq!(program.run(&Variables::new(), &mut budget), Err(Failed::Budget));
    let doubled = "[1].map(a, 'x'.replace('x', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')).map(a, a.replace('x', a)).map(a, a.replace('x', a)).map(a, a.replace('x', a)).map(a, a.replace('x', a))";
    assert!(run(doubled).is_err());
}

#[test]
fn lists_that_share_their_items_are_not_walked_without_end() {
    let doubled = format!("[[1]]{}", ".map(a, [a, a])".repeat(100));
    for use_of in [
        "size(LIST) > 0",
        "LIST == LIST",
        "{'a': 1}[LIST] == 1",
        "optional.of(LIST) == optional.of(LIST)",
    ] {
        let outcome = run(&use_of.replace("LIST", &doubled));
        assert_eq!(outcome, Err(Failed::Budget.to_string()), "{use_of}");
    }
}

#[test]
fn values_and_types_are_not_nested_deeper_than_a_stack() {
    let body = format!("{}a{}", "[".repeat(60), "]".repeat(60));
    let deep = format!("[1]{}", format!(".map(a, {body})").repeat(50));
    assert_eq!(run(&deep), Err("the value is nested too deep".to_owned()));
    assert_eq!(run("{[1]: 1}"), Err("unsupported key type: list".to_owned()));
}

#[test]
fn texts_do_not_grow_by_joining_summing_or_replacing() {
    let long = format!("'{}'", "x".repeat(2000));
    let list = format!("[{}]", vec!["'a'"; 2000].join(","));
    assert_eq!(
        run(&format!("{list}.join({long})")),
        Err("the result of join is too long".to_owned())
    );
    assert!(run("['a', 'b'].sum()").unwrap_err().contains("no such overload"));
    // Each result is small enough, a hundred of them are not.
    let items = format!("[{}]", vec!["1"; 100].join(","));
    let (of, to) = ("x".repeat(1500), "y".repeat(1500));
    let grown = run(&format!("{items}.map(i, '{of}'.replace('x', '{to}'))"));
    assert_eq!(grown, Err(Failed::Budget.to_string()));
}

#[test]
fn large_maps_are_equal_in_any_order() {
    let map = |keys: &mut dyn Iterator<Item = i64>| {
        Value::Map(std::sync::Arc::new(
            keys.map(|key| (Value::text(key.to_string()), Value::Int(key)))
                .collect(),
        ))
    };
    let (one, other) = (map(&mut (0..50_000)), map(&mut (0..50_000).rev()));
    assert!(one == other && one != map(&mut (1..50_001)));
    holds("{1: 'a', 'b': 2} == {'b': 2, 1: 'a'}");
}

#[test]
fn times_do_not_overflow() {
    holds(&format!(
        "[duration('2000000h')]{} != []",
        ".map(a, a + a)".repeat(100)
    ));
}
