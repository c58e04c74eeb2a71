//! Access logs ⇄ `config.accesslog.v3.AccessLog` with a file (or standard output) behind it.
//!
//! Istio writes the format of a line into `log_format`; the older fields are read as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use envoy_types::pb::envoy::config::accesslog::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3 as file;
use envoy_types::pb::envoy::extensions::access_loggers::stream::v3 as stream;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Any, ListValue, Struct, Value};
use file::file_access_log::AccessLogFormat;
use pb::access_log::ConfigType;
use pb::access_log_filter::FilterSpecifier;
use prost::Name;
use snapshot::{AccessLog, Format, LogFormat, Template};

use super::proto::{pack, refuse, unpack};
use crate::rejected::Reason;

const FILE: &str = "envoy.access_loggers.file";
const STDOUT: &str = "/dev/stdout";
const STDERR: &str = "/dev/stderr";
/// What Envoy writes where no format is stated.
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
    \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \
    \"%UPSTREAM_HOST%\"\n";

pub(super) fn to_proto(logs: &[Arc<AccessLog>]) -> Vec<pb::AccessLog> {
    logs.iter().map(|log| one_to_proto(log)).collect()
}

fn one_to_proto(log: &AccessLog) -> pb::AccessLog {
    let filter = (!log.only_flags.is_empty()).then(|| pb::AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(pb::ResponseFlagFilter {
            flags: log.only_flags.clone(),
        })),
    });
    pb::AccessLog {
        name: FILE.to_owned(),
        filter,
        config_type: Some(ConfigType::TypedConfig(pack(file::FileAccessLog {
            path: log.path.clone(),
            access_log_format: Some(AccessLogFormat::LogFormat(format_to_proto(&log.format))),
        }))),
    }
}

fn format_to_proto(format: &LogFormat) -> core::SubstitutionFormatString {
    use core::substitution_format_string::Format;
    let format = match format {
        LogFormat::Text(text) => Format::TextFormatSource(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(
                text.source().to_owned(),
            )),
            ..Default::default()
        }),
        LogFormat::Json(object) => Format::JsonFormat(object_to_proto(object)),
    };
    core::SubstitutionFormatString {
        format: Some(format),
        ..Default::default()
    }
}

fn object_to_proto(object: &BTreeMap<String, Template>) -> Struct {
    let fields = object
        .iter()
        .map(|(name, value)| (name.clone(), value_to_proto(value)));
    Struct {
        fields: fields.collect::<HashMap<_, _>>(),
    }
}

fn value_to_proto(value: &Template) -> Value {
    let kind = match value {
        Template::Null => Kind::NullValue(0),
        Template::Boolean(value) => Kind::BoolValue(*value),
        Template::Number(value) => Kind::NumberValue(*value),
        Template::Text(format) => Kind::StringValue(format.source().to_owned()),
        Template::List(values) => Kind::ListValue(ListValue {
            values: values.iter().map(value_to_proto).collect(),
        }),
        Template::Object(object) => Kind::StructValue(object_to_proto(object)),
    };
    Value { kind: Some(kind) }
}

pub(super) fn from_proto(messages: Vec<pb::AccessLog>) -> Result<Vec<Arc<AccessLog>>, Reason> {
    messages
        .into_iter()
        .map(|message| one_from_proto(message).map(Arc::new))
        .collect()
}

fn one_from_proto(message: pb::AccessLog) -> Result<AccessLog, Reason> {
    let only_flags = match message.filter.and_then(|filter| filter.filter_specifier) {
        None => Vec::new(),
        Some(FilterSpecifier::ResponseFlagFilter(filter)) if !filter.flags.is_empty() => filter.flags,
        Some(_) => {
            return Err(Reason::unsupported(
                "AccessLog.filter other than response_flag_filter",
            ));
        }
    };
    let Some(ConfigType::TypedConfig(any)) = message.config_type else {
        return Err(Reason::missing("AccessLog.typed_config"));
    };
    let (path, format) = destination(&any, &message.name)?;
    if path.is_empty() {
        return Err(Reason::missing("FileAccessLog.path"));
    }
    Ok(AccessLog {
        path,
        format,
        only_flags,
    })
}

fn destination(any: &Any, name: &str) -> Result<(String, LogFormat), Reason> {
    let field = "AccessLog.typed_config";
    if any.type_url == stream::StdoutAccessLog::type_url() {
        let message: stream::StdoutAccessLog = unpack(any, field)?;
        let stream::stdout_access_log::AccessLogFormat::LogFormat(format) = message
            .access_log_format
            .unwrap_or_else(|| stream::stdout_access_log::AccessLogFormat::LogFormat(Default::default()));
        return Ok((STDOUT.to_owned(), format_from_proto(format)?));
    }
    if any.type_url == stream::StderrAccessLog::type_url() {
        let message: stream::StderrAccessLog = unpack(any, field)?;
        let stream::stderr_access_log::AccessLogFormat::LogFormat(format) = message
            .access_log_format
            .unwrap_or_else(|| stream::stderr_access_log::AccessLogFormat::LogFormat(Default::default()));
        return Ok((STDERR.to_owned(), format_from_proto(format)?));
    }
    if any.type_url != file::FileAccessLog::type_url() {
        return Err(Reason::unsupported(format!("AccessLog {name:?}")));
    }
    let message: file::FileAccessLog = unpack(any, field)?;
    let format = match message.access_log_format {
        None => text("")?,
        Some(AccessLogFormat::Format(format)) => text(&format)?,
        Some(AccessLogFormat::JsonFormat(object) | AccessLogFormat::TypedJsonFormat(object)) => {
            LogFormat::Json(object_from_proto(object)?)
        }
        Some(AccessLogFormat::LogFormat(format)) => format_from_proto(format)?,
    };
    Ok((message.path, format))
}

/// Formatters only name operators; those that nobody here can fill are refused where they stand.
fn format_from_proto(message: core::SubstitutionFormatString) -> Result<LogFormat, Reason> {
    use core::substitution_format_string::Format;
    refuse!(message, "SubstitutionFormatString", [omit_empty_values]);
    match message.format {
        None => text(""),
        Some(Format::TextFormat(format)) => text(&format),
        Some(Format::TextFormatSource(source)) => match source.specifier {
            Some(core::data_source::Specifier::InlineString(format)) => text(&format),
            Some(core::data_source::Specifier::InlineBytes(format)) => {
                text(std::str::from_utf8(&format).map_err(|_| {
                    Reason::new("SubstitutionFormatString.text_format_source", "is not UTF-8")
                })?)
            }
            _ => Err(Reason::unsupported(
                "SubstitutionFormatString.text_format_source other than inline",
            )),
        },
        Some(Format::JsonFormat(object)) => Ok(LogFormat::Json(object_from_proto(object)?)),
    }
}

/// Nothing stated means Envoy's own format.
fn text(format: &str) -> Result<LogFormat, Reason> {
    let format = if format.is_empty() { DEFAULT } else { format };
    parse(format).map(LogFormat::Text)
}

fn parse(format: &str) -> Result<Format, Reason> {
    Format::parse(format).map_err(|error| Reason::new("SubstitutionFormatString", error.to_string()))
}

fn object_from_proto(message: Struct) -> Result<BTreeMap<String, Template>, Reason> {
    let fields = message.fields.into_iter();
    fields
        .map(|(name, value)| Ok((name, value_from_proto(value)?)))
        .collect()
}

fn value_from_proto(value: Value) -> Result<Template, Reason> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Template::Null,
        Some(Kind::BoolValue(value)) => Template::Boolean(value),
        Some(Kind::NumberValue(value)) => Template::Number(value),
        Some(Kind::StringValue(text)) => Template::Text(parse(&text)?),
        Some(Kind::ListValue(list)) => Template::List(
            list.values
                .into_iter()
                .map(value_from_proto)
                .collect::<Result<_, _>>()?,
        ),
        Some(Kind::StructValue(object)) => Template::Object(object_from_proto(object)?),
    })
}
