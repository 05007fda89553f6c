//! What an expression calls, and functions that call themselves: they could use up the stack, which no bound of an
//! evaluation sees.

use std::collections::{BTreeMap, BTreeSet};

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Def, Pattern, Term},
    },
    path::Part,
};

/// The name of a function that is defined in the term and calls itself, if there is one. A function is seen by what
/// comes after it and by itself only, so that there is no other way to recurse.
pub(super) fn calls_itself<'s>(term: &Term<&'s str>) -> Option<&'s str> {
    within(term, &mut Vec::new())
}

fn within<'s>(term: &Term<&'s str>, inside: &mut Vec<(&'s str, usize)>) -> Option<&'s str> {
    if let Term::Call(name, arguments) = term
        && inside.contains(&(*name, arguments.len()))
    {
        return Some(name);
    }
    if let Term::Def(definitions, body) = term {
        for Def { name, args, body } in definitions {
            inside.push((name, args.len()));
            let found = within(body, inside);
            inside.pop();
            if found.is_some() {
                return found;
            }
        }
        return within(body, inside);
    }
    parts(term).into_iter().find_map(|part| within(part, inside))
}

/// Of all definitions, those that the term needs.
pub(super) fn needed<'s>(term: &Term<&'s str>, definitions: &[Def<&'s str>]) -> Vec<Def<&'s str>> {
    let mut by_name: BTreeMap<&str, Vec<&Term<&'s str>>> = BTreeMap::new();
    for definition in definitions {
        by_name.entry(definition.name).or_default().push(&definition.body);
    }
    let mut names = BTreeSet::new();
    let mut left = vec![term];
    while let Some(term) = left.pop() {
        if let Term::Call(name, _) | Term::Str(Some(name), _) = term
            && names.insert(*name)
        {
            left.extend(by_name.get(name).into_iter().flatten());
        }
        left.extend(parts(term));
    }
    definitions.iter().filter(|definition| names.contains(definition.name)).cloned().collect()
}

/// The terms that a term is made of.
fn parts<'t, 's>(term: &'t Term<&'s str>) -> Vec<&'t Term<&'s str>> {
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => Vec::new(),
        Term::Str(_, parts) => parts
            .iter()
            .filter_map(|part| match part {
                StrPart::Term(term) => Some(term),
                _ => None,
            })
            .collect(),
        Term::Arr(inner) => inner.iter().map(AsRef::as_ref).collect(),
        Term::Obj(fields) => fields.iter().flat_map(|(key, value)| std::iter::once(key).chain(value)).collect(),
        Term::Neg(inner) | Term::Label(_, inner) => vec![inner],
        Term::BinOp(left, operator, right) => {
            let mut all = vec![left.as_ref(), right.as_ref()];
            if let BinaryOp::Pipe(Some(pattern)) = operator {
                in_pattern(pattern, &mut all);
            }
            all
        }
        Term::Fold(_, over, pattern, steps) => {
            let mut all: Vec<_> = std::iter::once(over.as_ref()).chain(steps).collect();
            in_pattern(pattern, &mut all);
            all
        }
        Term::TryCatch(body, handler) => std::iter::once(body.as_ref()).chain(handler.as_deref()).collect(),
        Term::IfThenElse(cases, otherwise) => {
            cases.iter().flat_map(|(condition, then)| [condition, then]).chain(otherwise.as_deref()).collect()
        }
        Term::Def(definitions, body) => {
            definitions.iter().map(|definition| &definition.body).chain(std::iter::once(body.as_ref())).collect()
        }
        Term::Call(_, arguments) => arguments.iter().collect(),
        Term::Path(start, path) => {
            let mut all = vec![start.as_ref()];
            for (part, _) in &path.0 {
                match part {
                    Part::Index(index) => all.push(index),
                    Part::Range(from, to) => all.extend(from.iter().chain(to)),
                }
            }
            all
        }
    }
}

fn in_pattern<'t, 's>(pattern: &'t Pattern<&'s str>, all: &mut Vec<&'t Term<&'s str>>) {
    match pattern {
        Pattern::Var(_) => (),
        Pattern::Arr(items) => items.iter().for_each(|item| in_pattern(item, all)),
        Pattern::Obj(fields) => {
            for (key, value) in fields {
                all.push(key);
                in_pattern(value, all);
            }
        }
    }
}
