//! What is wrong with a resource: shown alike in admission, `analyze`, events, status and console.
//!
//! Codes `IST…` are Istio's, whose documentation explains them; `AMI…` are ours.

use std::fmt;

use crate::Key;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub code: Code,
    /// The object; `None` when it could not be read far enough to know.
    pub key: Option<Key>,
    /// `spec.http[0].route[1].destination.subset`; empty for the object as a whole.
    pub field: String,
    /// Line in the file that it was read from.
    pub line: Option<u64>,
    pub message: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something probably does not do what is meant.
    Warning,
    /// Worth knowing.
    Info,
}

macro_rules! codes {
    ($($variant:ident $code:literal $level:ident,)*) => {
        /// The kind of finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// `IST0101`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// `ReferencedResourceNotFound`; also the reason of the event.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// How bad findings of this kind are.
            pub fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level,)* }
            }
        }
    };
}

codes! {
    ReferencedResourceNotFound "IST0101" Error,
    SchemaValidationError "IST0106" Error,
    ConflictingMeshGatewayVirtualServiceHosts "IST0109" Error,
    VirtualServiceDestinationPortSelectorRequired "IST0112" Error,
    MtlsPolicyConflict "IST0113" Error,
    NoMatchingWorkloadsFound "IST0127" Warning,
    VirtualServiceUnreachableRule "IST0130" Warning,
    VirtualServiceIneffectiveMatch "IST0131" Info,
    SchemaWarning "IST0133" Warning,
    IneffectivePolicy "IST0167" Warning,
    UnknownDestinationRuleHost "IST0174" Warning,
    UnreadableDocument "AMI0001" Error,
    UnknownKind "AMI0002" Info,
    UnknownField "AMI0003" Warning,
    NotSupportedYet "AMI0004" Warning,
    KeysUnavailable "AMI0005" Warning,
}

impl Problem {
    pub fn new(code: Code, key: &Key, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            key: Some(key.clone()),
            field: field.into(),
            line: None,
            message: message.into(),
        }
    }

    pub fn level(&self) -> Level {
        self.code.level()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Info => "Info",
        })
    }
}

impl fmt::Display for Problem {
    /// `Error [IST0101] (VirtualService shop/backend line 7) spec.http[0]: message`, as `istioctl analyze` prints.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} [{}]", self.level(), self.code.as_str())?;
        match (&self.key, self.line) {
            (Some(key), Some(line)) => write!(out, " ({key} line {line})")?,
            (Some(key), None) => write!(out, " ({key})")?,
            (None, Some(line)) => write!(out, " (line {line})")?,
            (None, None) => {}
        }
        if !self.field.is_empty() {
            write!(out, " {}:", self.field)?;
        }
        write!(out, " {}", self.message)
    }
}
