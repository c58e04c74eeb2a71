//! Access logs: texts, JSON, and the flags that they are limited to.

use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use snapshot::{AccessLog, Format, LogFormat, Template};

use super::name;

fn format() -> impl Strategy<Value = Format> {
    let texts = vec![
        "%RESPONSE_CODE%",
        "[%START_TIME(%H:%M)%] %REQ(a?b):9% 100%% %UPSTREAM_HOST%\n",
        "%DYNAMIC_METADATA(a:b)% %GRPC_STATUS(SNAKE_STRING)%",
    ];
    proptest::sample::select(texts).prop_map(|text| Format::parse(text).unwrap())
}

fn template() -> BoxedStrategy<Template> {
    let leaf = prop_oneof![
        Just(Template::Null),
        any::<bool>().prop_map(Template::Boolean),
        (-9..9i32).prop_map(|number| Template::Number(number.into())),
        format().prop_map(Template::Text),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Template::List),
            btree_map(name(), inner, 0..3).prop_map(Template::Object),
        ]
    })
    .boxed()
}

pub(super) fn access_log() -> BoxedStrategy<Vec<Arc<AccessLog>>> {
    let format = prop_oneof![
        format().prop_map(LogFormat::Text),
        btree_map(name(), template(), 0..3).prop_map(LogFormat::Json),
    ];
    let log =
        ("/[a-z]{1,9}", format, vec(prop_oneof!["NR", "UF"], 0..2)).prop_map(|(path, format, only_flags)| {
            Arc::new(AccessLog {
                path,
                format,
                only_flags: only_flags.into_iter().collect(),
            })
        });
    vec(log, 0..2).boxed()
}
