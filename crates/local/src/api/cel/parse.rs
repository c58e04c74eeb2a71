//! From tokens to an expression; macros are expanded here. Pure.
//!
//! The depth of an expression is bounded, and with it the stack of everything that walks over one.

use super::lex::{Error, Placed, Token, tokens};
use super::value::Value;

/// One node and where it stands in the text.
#[derive(Debug)]
pub(super) struct Expr {
    pub(super) at: usize,
    pub(super) kind: Kind,
    depth: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Literal(Value),
    Ident(String),
    /// `of.field`, or `of.?field`.
    Select(Box<Expr>, String, bool),
    /// `has(of.field)`.
    Has(Box<Expr>, String),
    /// `of[index]`, or `of[?index]`.
    Index(Box<Expr>, Box<Expr>, bool),
    Call(Option<Box<Expr>>, String, Vec<Expr>),
    /// `_+_` and the like.
    Operator(&'static str, Vec<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    If(Box<[Expr; 3]>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Loop(Box<Loop>),
    /// `optMap` and `optFlatMap` (true).
    Mapped(Box<Expr>, String, Box<Expr>, bool),
}

/// `range.macro(first, second, …)`.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) macro_: Macro,
    pub(super) range: Expr,
    pub(super) first: String,
    /// With two variables the first is the index or key, the second the value.
    pub(super) second: Option<String>,
    pub(super) filter: Option<Expr>,
    pub(super) body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
    TransformMap,
}

const DEPTH: usize = 120;

pub(super) fn parse(text: &str) -> Result<Expr, Error> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    let root = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(root),
        _ => Err(parser.unexpected("<EOF>")),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next].1.clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(next) if *next == sign);
        if found {
            self.take();
        }
        found
    }

    fn needs(&mut self, sign: &str) -> Result<(), Error> {
        if self.takes(sign) {
            return Ok(());
        }
        Err(self.unexpected(sign))
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let found = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Ident(name) => name.clone(),
            Token::Literal(value) => value.to_string(),
        };
        let what = format!("Syntax error: mismatched input '{found}' expecting '{wanted}'");
        Error::new(self.at(), what)
    }

    fn expression(&mut self) -> Result<Expr, Error> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(too_deep(self.at()));
        }
        let at = self.at();
        let condition = self.either()?;
        let whole = if self.takes("?") {
            let yes = self.either()?;
            self.needs(":")?;
            let no = self.expression()?;
            node(at, Kind::If(Box::new([condition, yes, no])))
        } else {
            Ok(condition)
        };
        self.depth -= 1;
        whole
    }

    fn either(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        let mut terms = vec![self.both()?];
        while self.takes("||") {
            terms.push(self.both()?);
        }
        joined(at, terms, Kind::Or)
    }

    fn both(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        let mut terms = vec![self.binary(0)?];
        while self.takes("&&") {
            terms.push(self.binary(0)?);
        }
        joined(at, terms, Kind::And)
    }

    /// Relations, sums and products.
    fn binary(&mut self, level: usize) -> Result<Expr, Error> {
        const LEVELS: [&[(&str, &str)]; 3] = [
            &[
                ("==", "_==_"),
                ("!=", "_!=_"),
                ("<=", "_<=_"),
                (">=", "_>=_"),
                ("<", "_<_"),
                (">", "_>_"),
                ("in", "@in"),
            ],
            &[("+", "_+_"), ("-", "_-_")],
            &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
        ];
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        loop {
            let at = self.at();
            let found = operators.iter().find(|(sign, _)| self.takes(sign));
            let Some((_, name)) = found else { return Ok(left) };
            let right = self.binary(level + 1)?;
            left = node(at, Kind::Operator(name, vec![left, right]))?;
        }
    }

    fn unary(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        for (sign, name) in [("!", "!_"), ("-", "-_")] {
            if self.takes(sign) {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err(too_deep(at));
                }
                let of = self.unary()?;
                self.depth -= 1;
                return match (sign, of.kind) {
                    ("-", Kind::Literal(Value::Int(number))) => node(at, Kind::Literal(Value::Int(-number))),
                    ("-", Kind::Literal(Value::Double(number))) => {
                        node(at, Kind::Literal(Value::Double(-number)))
                    }
                    (_, kind) => {
                        let of = Expr { kind, ..of };
                        node(at, Kind::Operator(name, vec![of]))
                    }
                };
            }
        }
        self.member()
    }

    fn member(&mut self) -> Result<Expr, Error> {
        let mut of = self.primary()?;
        loop {
            let at = self.at();
            if self.takes(".") || self.takes(".?") {
                let optional = matches!(self.tokens[self.next - 1].1, Token::Sign(".?"));
                let Token::Ident(name) = self.take() else {
                    return Err(Error::new(at, "Syntax error: no name after '.'"));
                };
                of = if !optional && self.takes("(") {
                    let arguments = self.list(")")?;
                    member_call(at, of, name, arguments)?
                } else {
                    node(at, Kind::Select(Box::new(of), name, optional))?
                };
            } else if self.takes("[") || self.takes("[?") {
                let optional = matches!(self.tokens[self.next - 1].1, Token::Sign("[?"));
                let index = self.expression()?;
                self.needs("]")?;
                of = node(at, Kind::Index(Box::new(of), Box::new(index), optional))?;
            } else {
                return Ok(of);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        match self.peek().clone() {
            Token::Literal(value) => {
                self.take();
                node(at, Kind::Literal(value))
            }
            Token::Ident(name) => {
                self.take();
                if self.takes("(") {
                    let arguments = self.list(")")?;
                    return global_call(at, name, arguments);
                }
                node(at, Kind::Ident(name))
            }
            Token::Sign("(") => {
                self.take();
                let inner = self.expression()?;
                self.needs(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                self.take();
                let items = self.list("]")?;
                node(at, Kind::List(items))
            }
            Token::Sign("{") => {
                self.take();
                self.map(at)
            }
            Token::Sign(".") => {
                self.take();
                // `.name` is the name itself. Nothing else may follow, or dots alone would use up the stack.
                match self.peek() {
                    Token::Ident(_) => self.primary(),
                    _ => Err(self.unexpected("name")),
                }
            }
            _ => Err(self.unexpected("expression")),
        }
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expr>, Error> {
        let mut items = Vec::new();
        while !self.takes(end) {
            items.push(self.expression()?);
            if !self.takes(",") {
                self.needs(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn map(&mut self, at: usize) -> Result<Expr, Error> {
        let mut entries = Vec::new();
        while !self.takes("}") {
            let key = self.expression()?;
            self.needs(":")?;
            entries.push((key, self.expression()?));
            if !self.takes(",") {
                self.needs("}")?;
                break;
            }
        }
        node(at, Kind::Map(entries))
    }
}

/// A function of a namespace such as `optional.of`, a macro, or a function of a value.
fn member_call(at: usize, of: Expr, name: String, mut arguments: Vec<Expr>) -> Result<Expr, Error> {
    const NAMESPACES: [&str; 5] = ["optional", "sets", "math", "strings", "ip"];
    if let Kind::Ident(space) = &of.kind
        && NAMESPACES.contains(&space.as_str())
        && super::library::is_global(&format!("{space}.{name}"))
    {
        return node(at, Kind::Call(None, format!("{space}.{name}"), arguments));
    }
    if matches!(name.as_str(), "optMap" | "optFlatMap") && arguments.len() == 2 {
        let body = arguments.pop().expect("there are two");
        let variable = variable(&arguments[0])?;
        let flat = name == "optFlatMap";
        return node(at, Kind::Mapped(Box::new(of), variable, Box::new(body), flat));
    }
    let macro_ = match (name.as_str(), arguments.len()) {
        ("all", 2 | 3) => Macro::All,
        ("exists", 2 | 3) => Macro::Exists,
        ("exists_one" | "existsOne", 2 | 3) => Macro::ExistsOne,
        ("filter", 2) => Macro::Filter,
        ("map", 2 | 3) | ("transformList", 3 | 4) => Macro::Map,
        ("transformMap", 3 | 4) => Macro::TransformMap,
        _ => return node(at, Kind::Call(Some(Box::new(of)), name, arguments)),
    };
    let body = arguments.pop().expect("there are at least two");
    let with_key = match name.as_str() {
        "map" | "filter" => false,
        "transformList" | "transformMap" => true,
        _ => arguments.len() == 2,
    };
    let mut rest = arguments.into_iter();
    let first = variable(&rest.next().expect("there are at least two"))?;
    let second = if with_key {
        rest.next().map(|name| variable(&name)).transpose()?
    } else {
        None
    };
    let filter = rest.next();
    let all = Loop {
        macro_,
        range: of,
        first,
        second,
        filter,
        body,
    };
    node(at, Kind::Loop(Box::new(all)))
}

fn global_call(at: usize, name: String, mut arguments: Vec<Expr>) -> Result<Expr, Error> {
    if name != "has" {
        return node(at, Kind::Call(None, name, arguments));
    }
    match arguments.pop().map(|argument| argument.kind) {
        Some(Kind::Select(of, field, false)) if arguments.is_empty() => node(at, Kind::Has(of, field)),
        _ => Err(Error::new(at, "invalid argument to has() macro")),
    }
}

fn variable(expr: &Expr) -> Result<String, Error> {
    match &expr.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err(Error::new(expr.at, "argument must be a simple name")),
    }
}

fn joined(at: usize, mut terms: Vec<Expr>, join: fn(Vec<Expr>) -> Kind) -> Result<Expr, Error> {
    match terms.len() {
        1 => Ok(terms.pop().expect("there is one")),
        _ => node(at, join(terms)),
    }
}

fn node(at: usize, kind: Kind) -> Result<Expr, Error> {
    let mut expr = Expr { at, kind, depth: 0 };
    expr.depth = 1 + expr.children().map(|child| child.depth).max().unwrap_or(0);
    if expr.depth > DEPTH {
        return Err(too_deep(at));
    }
    Ok(expr)
}

fn too_deep(at: usize) -> Error {
    Error::new(at, format!("expression recursion limit exceeded: {DEPTH}"))
}

impl Expr {
    fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Box::new(std::iter::empty()),
            Kind::Select(of, ..) | Kind::Has(of, _) => Box::new(std::iter::once(&**of)),
            Kind::Index(of, other, _) | Kind::Mapped(of, _, other, _) => {
                Box::new([&**of, &**other].into_iter())
            }
            Kind::Call(of, _, arguments) => Box::new(of.as_deref().into_iter().chain(arguments)),
            Kind::Operator(_, several) | Kind::And(several) | Kind::Or(several) | Kind::List(several) => {
                Box::new(several.iter())
            }
            Kind::If(three) => Box::new(three.iter()),
            Kind::Map(entries) => Box::new(entries.iter().flat_map(|(key, value)| [key, value])),
            Kind::Loop(all) => Box::new([&all.range, &all.body].into_iter().chain(&all.filter)),
        }
    }

    /// Whether a variable of this name is looked at.
    pub(super) fn uses(&self, variable: &str) -> bool {
        matches!(&self.kind, Kind::Ident(name) if name == variable)
            || self.children().any(|child| child.uses(variable))
    }
}
