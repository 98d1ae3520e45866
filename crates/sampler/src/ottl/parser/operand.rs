//! What operators stand between: literals, paths and calls.

use super::{Node, Operand, Parser};
use crate::ottl::call::Items;
use crate::ottl::convert;
use crate::ottl::error::{ParseError, did_you_mean, quoted};
use crate::ottl::expr::{Expr, Key, Literal, Path};
use crate::ottl::function::{self, Argument, Name};
use crate::ottl::lexer::{self, Kind, Token};
use crate::ottl::path::{self, Field};

/// Names for numbers.
const ENUMS: [(&str, i64); 9] = [
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
];

// === impl Parser ===

impl<'t> Parser<'_, 't> {
    pub(super) fn primary(&mut self, may_test: bool) -> Result<Node, ParseError> {
        let token = self.peek();
        let column = token.column;
        let value = |expr, is_number| Ok(Node::Value(Operand { expr, column, is_number }));
        match token.kind {
            Kind::Word => self.word(),
            Kind::Int => {
                let parsed = token.text.parse().map_err(|_| {
                    self.unexpected(format!("a whole number up to {}", i64::MAX), None)
                })?;
                self.next();
                value(Expr::Literal(Literal::Int(parsed)), true)
            }
            Kind::Float => {
                let parsed = token.text.parse().ok().filter(|value: &f64| value.is_finite());
                let parsed = parsed
                    .ok_or_else(|| self.unexpected("a number that is not that large", None))?;
                self.next();
                value(Expr::Literal(Literal::Double(parsed)), true)
            }
            Kind::Bytes => {
                let bytes = bytes(token)?;
                self.next();
                value(Expr::Literal(Literal::Bytes(bytes)), false)
            }
            Kind::Text => {
                self.next();
                let text = lexer::unquote(token)?;
                value(Expr::Literal(Literal::Text(text.into())), false)
            }
            Kind::Sign if token.text == "(" => self.deeper(|parser| parser.parentheses(may_test)),
            Kind::Sign if token.text == "[" => Err(self.unexpected(
                "a single value",
                Some("lists are for `ContainsValue` and `Concat`".to_owned()),
            )),
            Kind::Sign if token.text == "{" => Err(self.unexpected(
                "a single value",
                Some("OTTL has maps written out, teleflow does not".to_owned()),
            )),
            _ => {
                let hint = match token.text {
                    "=" => Some("did you mean `==`?".to_owned()),
                    _ => None,
                };
                Err(self.unexpected("a path, a function or a value", hint))
            }
        }
    }

    fn word(&mut self) -> Result<Node, ParseError> {
        let word = self.peek();
        let column = word.column;
        let literal =
            |expr| Ok(Node::Value(Operand { expr: Expr::Literal(expr), column, is_number: false }));
        match word.text {
            "nil" => {
                self.next();
                return literal(Literal::Nil);
            }
            "true" | "false" => {
                self.next();
                return literal(Literal::Bool(word.text == "true"));
            }
            "and" | "or" | "not" => {
                return Err(self.unexpected("a path, a function or a value", None));
            }
            _ => {}
        }
        let is_call = self.peek_at(1).text == "(" && self.peek_at(1).kind == Kind::Sign;
        let is_upper = word.text.starts_with(|c: char| c.is_ascii_uppercase());
        if is_upper && is_call {
            let expr = self.deeper(Self::call)?;
            return Ok(Node::Value(Operand { expr, column, is_number: true }));
        }
        if is_upper {
            let found = ENUMS.iter().find(|(name, _)| *name == word.text);
            let Some((_, number)) = found else {
                let names = ENUMS.iter().map(|(name, _)| *name);
                let expected = "a name such as `STATUS_CODE_ERROR`, or a function with `(`";
                return Err(self.unexpected(expected, did_you_mean(word.text, names)));
            };
            self.next();
            return literal(Literal::Int(*number));
        }
        if is_call {
            let name = Name { text: word.text, column };
            let hint = function::resolve(name, self.subject).err();
            let hint = hint.and_then(|error| error.hint().map(str::to_owned));
            return Err(self.unexpected("a function, whose names begin with a capital", hint));
        }
        let path = self.path()?;
        Ok(Node::Value(Operand { expr: Expr::Path(path), column, is_number: true }))
    }

    fn path(&mut self) -> Result<Path, ParseError> {
        let first = self.peek();
        let mut name = String::new();
        let mut keys = Vec::new();
        loop {
            if self.peek().kind != Kind::Word {
                return Err(self.unexpected("the next word of the path", None));
            }
            let word = self.next();
            if !keys.is_empty() {
                return Err(ParseError::new(
                    word.column,
                    quoted(word.text),
                    "nothing after the key",
                    None,
                ));
            }
            name.push_str(word.text);
            while self.accept(Kind::Sign, "[") {
                keys.push(self.key()?);
            }
            if !self.accept(Kind::Sign, ".") {
                break;
            }
            name.push('.');
        }
        let field = path::resolve(&name, self.subject).map_err(|unknown| {
            ParseError::new(first.column, quoted(&name), unknown.expected, unknown.hint)
        })?;
        let is_fine = match field {
            Field::Attributes(_) => matches!(keys.first(), None | Some(Key::Name(_))),
            Field::TraceState => matches!(keys[..], [] | [Key::Name(_)]),
            _ => keys.is_empty(),
        };
        if !is_fine {
            let expected = match field {
                Field::Attributes(_) => "a key in double quotes",
                Field::TraceState => "one key in double quotes",
                _ => "a path that can have keys, such as `attributes[\"key\"]`",
            };
            let found = format!("{} with such keys", quoted(&name));
            return Err(ParseError::new(first.column, found, expected, None));
        }
        Ok(Path { field, keys: keys.into(), column: first.column })
    }

    /// What is between brackets, and the closing one.
    fn key(&mut self) -> Result<Key, ParseError> {
        let token = self.peek();
        let key = match token.kind {
            Kind::Text => Key::Name(lexer::unquote(token)?.into()),
            Kind::Int => Key::Place(token.text.parse().unwrap_or(u64::MAX)),
            _ => {
                let hint = match token.kind {
                    Kind::Word => "OTTL takes keys from spans, teleflow does not",
                    _ => "keys are written out",
                };
                let expected = "a key in double quotes, or a whole number";
                return Err(self.unexpected(expected, Some(hint.to_owned())));
            }
        };
        self.next();
        self.expect("]")?;
        Ok(key)
    }

    fn call(&mut self) -> Result<Expr, ParseError> {
        let word = self.next();
        let name = Name { text: word.text, column: word.column };
        let parameters = function::resolve(name, self.subject)?;
        self.expect("(")?;
        let mut arguments = Vec::new();
        if !self.accept(Kind::Sign, ")") {
            loop {
                arguments.push(self.argument()?);
                if !self.accept(Kind::Sign, ",") {
                    break;
                }
            }
            if !self.accept(Kind::Sign, ")") {
                return Err(self.unexpected("`,` or `)`", None));
            }
        }
        if self.peek().text == "[" && self.peek().kind == Kind::Sign {
            let hint = "only paths have keys here".to_owned();
            return Err(self.unexpected("an operator, `and`, `or` or the end", Some(hint)));
        }
        let arguments = function::order(name, parameters, arguments)?;
        function::compile(name, arguments)
    }

    fn argument(&mut self) -> Result<Argument<'t>, ParseError> {
        let first = self.peek();
        let is_named = first.kind == Kind::Word && self.peek_at(1).text == "=";
        let name = is_named.then_some(first.text);
        if is_named {
            self.at += 2;
        }
        let column = self.peek().column;
        if !self.accept(Kind::Sign, "[") {
            let items = Items::List(self.value()?.expr);
            return Ok(Argument { name, items, column });
        }
        let mut items = Vec::new();
        if !self.accept(Kind::Sign, "]") {
            loop {
                items.push(self.value()?.expr);
                if !self.accept(Kind::Sign, ",") {
                    break;
                }
            }
            if !self.accept(Kind::Sign, "]") {
                return Err(self.unexpected("`,` or `]`", None));
            }
        }
        Ok(Argument { name, items: Items::Each(items), column })
    }
}

fn bytes(token: Token<'_>) -> Result<Box<[u8]>, ParseError> {
    let digits = &token.text.as_bytes()[2..];
    let byte = |pair: &[u8]| convert::unhex::<1>(pair).map(|[byte]| byte);
    let bytes: Option<Box<[u8]>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| {
        let expected = "an even number of hexadecimal digits";
        ParseError::new(token.column, quoted(token.text), expected, None)
    })
}
