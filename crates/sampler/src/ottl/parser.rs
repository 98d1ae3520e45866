//! The grammar of conditions.
//!
//! ```text
//! condition  = and ("or" and)*
//! and        = not ("and" not)*
//! not        = "not"? comparison
//! comparison = value (("==" | "!=" | "<" | "<=" | ">" | ">=") value)? | "(" condition ")"
//! value      = product (("+" | "-") product)*
//! product    = sign (("*" | "/") sign)*
//! sign       = ("+" | "-")? (number | path | call | "(" value ")") | text | bytes | "true" | ...
//! path       = word key* ("." word key*)*
//! call       = Word "(" argument ("," argument)* ")"
//! ```
//!
//! What is in parentheses is a value or a condition, which shows only at its end: both are read by
//! the same functions, so that nothing is read twice.

use super::Subject;
use super::error::{ParseError, did_you_mean, quoted};
use super::expr::{Expr, Literal, Operator, Step, Test};
use super::lexer::{self, Kind, Token};
use super::path::Field;
use super::value::Comparison;

mod operand;

/// Reads a condition.
pub(super) fn parse(text: &str, subject: Subject) -> Result<Test, ParseError> {
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, subject };
    let node = parser.or()?;
    let next = parser.peek();
    if next.kind != Kind::End {
        let hint = match next.text {
            "=" => Some("did you mean `==`?".to_owned()),
            "where" | "if" => Some("a condition needs no word before it".to_owned()),
            _ if next.kind == Kind::Word => did_you_mean(next.text, ["and", "or"]),
            _ => None,
        };
        return Err(parser.unexpected("`and`, `or` or the end", hint));
    }
    parser.test(node)
}

/// Parentheses, calls and lists in each other.
const MAX_DEPTH: u32 = 64;

struct Parser<'p, 't> {
    tokens: &'p [Token<'t>],
    at: usize,
    depth: u32,
    subject: Subject,
}

/// What was read: a condition, or a value of which it is not known yet what it is for.
enum Node {
    Test(Test),
    Value(Operand),
}

struct Operand {
    expr: Expr,
    column: u32,
    /// Whether it may be calculated with: a number, a path, a call or a calculation.
    is_number: bool,
}

// === impl Parser ===

impl<'t> Parser<'_, 't> {
    fn peek(&self) -> Token<'t> {
        self.peek_at(0)
    }

    /// The end is never passed.
    fn peek_at(&self, ahead: usize) -> Token<'t> {
        self.tokens[(self.at + ahead).min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn accept(&mut self, kind: Kind, text: &str) -> bool {
        let next = self.peek();
        let is = next.kind == kind && next.text == text;
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.accept(Kind::Sign, sign) {
            return Ok(());
        }
        Err(self.unexpected(format!("`{sign}`"), None))
    }

    fn unexpected(&self, expected: impl Into<String>, hint: Option<String>) -> ParseError {
        let next = self.peek();
        let found = match next.kind {
            Kind::End => "the end".to_owned(),
            _ => quoted(next.text),
        };
        ParseError::new(next.column, found, expected, hint)
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth == MAX_DEPTH {
            let expected = format!("no more than {MAX_DEPTH} parentheses in each other");
            return Err(self.unexpected(expected, None));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn or(&mut self) -> Result<Node, ParseError> {
        self.chain("or", Self::and, Test::any)
    }

    fn and(&mut self) -> Result<Node, ParseError> {
        self.chain("and", Self::not, Test::all)
    }

    fn chain(
        &mut self,
        word: &str,
        part: impl Fn(&mut Self) -> Result<Node, ParseError>,
        join: impl Fn(Vec<Test>) -> Test,
    ) -> Result<Node, ParseError> {
        let first = part(self)?;
        if !(self.peek().kind == Kind::Word && self.peek().text == word) {
            return Ok(first);
        }
        let mut tests = vec![self.test(first)?];
        while self.accept(Kind::Word, word) {
            let next = part(self)?;
            tests.push(self.test(next)?);
        }
        Ok(Node::Test(join(tests)))
    }

    fn not(&mut self) -> Result<Node, ParseError> {
        if !self.accept(Kind::Word, "not") {
            return self.comparison();
        }
        let node = self.comparison()?;
        Ok(Node::Test(Test::not(self.test(node)?)))
    }

    fn comparison(&mut self) -> Result<Node, ParseError> {
        let left = self.sum(true)?;
        let Some(comparison) = Comparison::parse(self.peek().text) else { return Ok(left) };
        let Node::Value(left) = left else {
            let hint = "only values are compared".to_owned();
            return Err(self.unexpected("`and`, `or` or the end", Some(hint)));
        };
        self.next();
        let right = self.value()?;
        Ok(Node::Test(Test::compare(left.expr, comparison, right.expr)))
    }

    /// A node as a condition.
    fn test(&self, node: Node) -> Result<Test, ParseError> {
        let operand = match node {
            Node::Test(test) => return Ok(test),
            Node::Value(operand) => operand,
        };
        let column = operand.column;
        let refuse = |found: &str, hint: &str| {
            Err(ParseError::new(column, found, "a condition", hint.to_owned()))
        };
        match operand.expr {
            Expr::Literal(Literal::Bool(is)) => Ok(Test::Always(is)),
            Expr::Call(call) if call.function.is_condition() => {
                Ok(Test::Holds(Expr::Call(call), column))
            }
            Expr::Call(_) => refuse("a function that does not answer yes or no", "compare it"),
            Expr::Path(path) => match path.field {
                Field::Attributes(_) => {
                    refuse("a path alone", "compare it, with `== true` or `!= nil`")
                }
                _ => refuse("a path alone", "compare it with something"),
            },
            Expr::Literal(_) => refuse("a value alone", "compare it with something"),
            Expr::Negated(..) | Expr::Math(..) => {
                refuse("a calculation alone", "compare it with something")
            }
        }
    }

    /// What cannot be a condition.
    fn value(&mut self) -> Result<Operand, ParseError> {
        match self.sum(false)? {
            Node::Value(operand) => Ok(operand),
            // Without leave there is none.
            Node::Test(_) => Err(self.unexpected("a value", None)),
        }
    }

    fn sum(&mut self, may_test: bool) -> Result<Node, ParseError> {
        self.calculation(may_test, ["+", "-"], Self::product)
    }

    fn product(&mut self, may_test: bool) -> Result<Node, ParseError> {
        self.calculation(may_test, ["*", "/"], Self::signed)
    }

    fn calculation(
        &mut self,
        may_test: bool,
        signs: [&str; 2],
        part: impl Fn(&mut Self, bool) -> Result<Node, ParseError>,
    ) -> Result<Node, ParseError> {
        let first = part(self, may_test)?;
        let is_next = |parser: &Self| {
            let next = parser.peek();
            next.kind == Kind::Math && signs.contains(&next.text)
        };
        if !is_next(self) {
            return Ok(first);
        }
        let first = self.number(first)?;
        let column = first.column;
        let mut steps = Vec::new();
        while is_next(self) {
            let sign = self.next();
            let Some(operator) = Operator::parse(sign.text) else { break };
            let right = part(self, false)?;
            let right = self.number(right)?.expr;
            steps.push(Step { operator, right, column: sign.column });
        }
        let expr = Expr::Math(Box::new(first.expr), steps);
        Ok(Node::Value(Operand { expr, column, is_number: true }))
    }

    /// Something that may be calculated with.
    fn number(&self, node: Node) -> Result<Operand, ParseError> {
        match node {
            Node::Value(operand) if operand.is_number => Ok(operand),
            Node::Value(operand) => Err(ParseError::new(
                operand.column,
                match &operand.expr {
                    Expr::Literal(literal) => literal.value().kind(),
                    _ => "a value",
                },
                "a number, a path or a function to calculate with",
                None,
            )),
            Node::Test(_) => Err(self.unexpected(
                "`and`, `or` or the end",
                Some("conditions cannot be calculated with".to_owned()),
            )),
        }
    }

    fn signed(&mut self, may_test: bool) -> Result<Node, ParseError> {
        let sign = self.peek();
        if sign.kind != Kind::Math || !matches!(sign.text, "+" | "-") {
            return self.primary(may_test);
        }
        self.next();
        let inner = self.primary(false)?;
        let inner = self.number(inner)?;
        let expr = match inner.expr {
            expr if sign.text == "+" => expr,
            Expr::Literal(Literal::Int(value)) => Expr::Literal(Literal::Int(-value)),
            Expr::Literal(Literal::Double(value)) => Expr::Literal(Literal::Double(-value)),
            expr => Expr::Negated(Box::new(expr), sign.column),
        };
        Ok(Node::Value(Operand { expr, column: sign.column, is_number: true }))
    }

    fn parentheses(&mut self, may_test: bool) -> Result<Node, ParseError> {
        let column = self.next().column;
        let inner = if may_test { self.or()? } else { Node::Value(self.value()?) };
        let inner = match inner {
            Node::Value(operand) if !operand.is_number => {
                if !may_test {
                    self.number(Node::Value(operand))?;
                    return Err(self.unexpected("a number", None));
                }
                Node::Test(self.test(Node::Value(operand))?)
            }
            inner => inner,
        };
        if !self.accept(Kind::Sign, ")") {
            let hint = (self.peek().text == "=").then(|| "did you mean `==`?".to_owned());
            return Err(self.unexpected("`)` or an operator", hint));
        }
        Ok(match inner {
            Node::Value(operand) => Node::Value(Operand { column, ..operand }),
            test => test,
        })
    }
}
