//! Reads models in OpenFGA's language, version 1.1: `define viewer: [user, group#member] or viewer from parent`.
//!
//! The grammar is OpenFGA's: operators are not mixed without parentheses, `[…]` stands once in a definition.
//! Conditions and modules are refused by name. Clause Q-3.

use std::ops::Range;

use super::schema::RelationSchema;
use super::tuple::is_name;
use crate::policy::fault::{PolicyFault, Source};

/// Bytes of a model.
const MODEL_BYTES_MAX: usize = 256 * 1024;
/// Parentheses inside parentheses.
const NESTING_MAX: u8 = 16;

/// A name and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

#[derive(Debug)]
pub(super) struct TypeSyntax {
    pub(super) name: Name,
    pub(super) relations: Vec<RelationSyntax>,
}

#[derive(Debug)]
pub(super) struct RelationSyntax {
    pub(super) name: Name,
    pub(super) direct: Vec<DirectSyntax>,
    pub(super) expr: ExprSyntax,
}

#[derive(Debug)]
pub(super) enum DirectSyntax {
    Object(Name),
    Userset(Name, Name),
    Everyone(Name),
}

#[derive(Debug)]
pub(super) enum ExprSyntax {
    This,
    Computed(Name),
    Arrow { relation: Name, via: Name },
    Union(Vec<ExprSyntax>),
    Intersection(Vec<ExprSyntax>),
    Exclusion(Box<ExprSyntax>, Box<ExprSyntax>),
}

impl RelationSchema {
    /// Reads a model.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Vec<PolicyFault>> {
        let source = Source::new(file, bytes).map_err(|fault| vec![fault])?;
        if bytes.len() > MODEL_BYTES_MAX {
            return Err(vec![source.fault(0, format!("a relation model has at most {MODEL_BYTES_MAX} bytes"))]);
        }
        let types = Reader::new(source)?.model().map_err(|fault| vec![fault])?;
        super::resolve::resolve(&source, &types)
    }
}

struct Reader<'a> {
    source: Source<'a>,
    tokens: Vec<(&'a str, Range<usize>)>,
    next: usize,
}

type Read<T> = Result<T, PolicyFault>;

impl<'a> Reader<'a> {
    fn new(source: Source<'a>) -> Result<Self, Vec<PolicyFault>> {
        let tokens = tokens(&source).map_err(|fault| vec![fault])?;
        Ok(Self { source, tokens, next: 0 })
    }

    fn model(mut self) -> Read<Vec<TypeSyntax>> {
        if self.peek() == Some("module") {
            return Err(self.advise("modules are not supported", "write the model as one file, from `model` on"));
        }
        self.expect("model")?;
        self.expect("schema")?;
        if self.peek() != Some("1.1") {
            return Err(self.advise("this is no version of the language that is read", "write `schema 1.1`"));
        }
        self.next += 1;
        let mut types = Vec::new();
        while let Some(token) = self.peek() {
            match token {
                "type" => types.push(self.type_definition()?),
                "condition" => return Err(self.conditions()),
                "extend" => return Err(self.advise("modules are not supported", "write the type whole, in one place")),
                _ => return Err(self.unexpected("`type`")),
            }
        }
        Ok(types)
    }

    fn type_definition(&mut self) -> Read<TypeSyntax> {
        self.next += 1;
        let name = self.name("the name of a type")?;
        let mut relations = Vec::new();
        if self.take("relations") {
            while self.take("define") {
                relations.push(self.relation()?);
            }
        }
        Ok(TypeSyntax { name, relations })
    }

    fn relation(&mut self) -> Read<RelationSyntax> {
        let name = self.name("the name of a relation")?;
        self.expect(":")?;
        let mut direct = Vec::new();
        let expr = self.expr(&mut direct, 0)?;
        Ok(RelationSyntax { name, direct, expr })
    }

    fn expr(&mut self, direct: &mut Vec<DirectSyntax>, depth: u8) -> Read<ExprSyntax> {
        let first = self.operand(direct, depth)?;
        let Some(operator) = self.peek().filter(|token| is_operator(token)) else { return Ok(first) };
        let mut parts = vec![first];
        while self.take(operator) {
            if operator == "but" {
                self.expect("not")?;
            }
            parts.push(self.operand(direct, depth)?);
        }
        if operator == "but" && parts.len() > 2 || self.peek().is_some_and(is_operator) {
            let help = "put parentheses around what belongs together";
            return Err(self.advise("`or`, `and` and `but not` do not mix, and `but not` does not chain", help));
        }
        Ok(match (operator, parts.pop()) {
            ("but", Some(without)) if parts.len() == 1 => ExprSyntax::Exclusion(parts.remove(0).into(), without.into()),
            (_, last) => {
                parts.extend(last);
                if operator == "or" { ExprSyntax::Union(parts) } else { ExprSyntax::Intersection(parts) }
            }
        })
    }

    fn operand(&mut self, direct: &mut Vec<DirectSyntax>, depth: u8) -> Read<ExprSyntax> {
        if self.peek() == Some("(") {
            if depth >= NESTING_MAX {
                return Err(self.advise("parentheses lie too deep", "give a part of it a name of its own"));
            }
            self.next += 1;
            let inner = self.expr(direct, depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.peek() == Some("[") {
            if !direct.is_empty() {
                return Err(self.advise("`[…]` stands once in a definition", "put all types into one"));
            }
            self.next += 1;
            loop {
                direct.push(self.direct()?);
                if !self.take(",") {
                    break;
                }
            }
            self.expect("]")?;
            return Ok(ExprSyntax::This);
        }
        let name = self.name("a relation, `[types]` or `(`")?;
        if self.take("from") {
            let via = self.name("the relation that leads to the other object")?;
            return Ok(ExprSyntax::Arrow { relation: name, via });
        }
        Ok(ExprSyntax::Computed(name))
    }

    fn direct(&mut self) -> Read<DirectSyntax> {
        let kind = self.name("the name of a type")?;
        let direct = if self.take("#") {
            DirectSyntax::Userset(kind, self.name("the name of a relation")?)
        } else if self.take(":") {
            self.expect("*")?;
            DirectSyntax::Everyone(kind)
        } else {
            DirectSyntax::Object(kind)
        };
        if self.peek() == Some("with") {
            return Err(self.conditions());
        }
        Ok(direct)
    }

    fn conditions(&self) -> PolicyFault {
        let help = "put the condition into a Cedar policy, or let the tuple expire";
        self.advise("conditions are not supported in relation models", help)
    }

    fn name(&mut self, expected: &str) -> Read<Name> {
        let found = self.tokens.get(self.next).filter(|(text, _)| is_name(text));
        let Some((text, at)) = found else { return Err(self.unexpected(expected)) };
        let name = Name { text: (*text).to_owned(), at: at.clone() };
        self.next += 1;
        Ok(name)
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).map(|(text, _)| *text)
    }

    fn take(&mut self, expected: &str) -> bool {
        let is_next = self.peek() == Some(expected);
        self.next += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, expected: &str) -> Read<()> {
        if self.take(expected) { Ok(()) } else { Err(self.unexpected(&format!("`{expected}`"))) }
    }

    fn unexpected(&self, expected: &str) -> PolicyFault {
        let found = self.peek().map_or_else(|| "the end".to_owned(), |found| format!("`{found}`"));
        self.source.fault(self.at().start, format!("here should stand {expected}, and not {found}"))
    }

    fn advise(&self, message: &str, help: &str) -> PolicyFault {
        self.source.advise(&self.at(), message, help)
    }

    fn at(&self) -> Range<usize> {
        let end = self.source.text.len();
        self.tokens.get(self.next).map_or(end..end, |(_, at)| at.clone())
    }
}

fn is_operator(token: &str) -> bool {
    ["or", "and", "but"].contains(&token)
}

/// Names and single signs. A `#` after white space begins a comment; one inside `group#member` does not.
fn tokens<'a>(source: &Source<'a>) -> Read<Vec<(&'a str, Range<usize>)>> {
    let text = source.text;
    let mut tokens = Vec::new();
    let (mut at, mut after_space) = (0, true);
    while let Some(sign) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        let is_part = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-' | '.' | '/');
        let length = if sign.is_whitespace() {
            sign.len_utf8()
        } else if sign == '#' && after_space {
            rest.find('\n').unwrap_or(rest.len())
        } else if is_part(sign) {
            let length = rest.find(|sign| !is_part(sign)).unwrap_or(rest.len());
            tokens.push((rest.get(..length).unwrap_or_default(), at..at + length));
            length
        } else if "[](){},:#*<>".contains(sign) {
            tokens.push((rest.get(..1).unwrap_or_default(), at..at + 1));
            1
        } else if tokens.iter().any(|(token, _)| *token == "condition") {
            // Whatever a condition says, it is refused where it begins.
            sign.len_utf8()
        } else {
            return Err(source.fault(at, format!("`{sign}` is no part of a relation model")));
        };
        after_space = sign.is_whitespace();
        at += length;
    }
    Ok(tokens)
}
