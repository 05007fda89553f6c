//! Functions that call themselves: they could use up the stack, which no bound of an evaluation sees.

use jaq_core::load::{
    lex::StrPart,
    parse::{BinaryOp, Def, Pattern, Term},
};

/// The name of a function that is defined in the term and calls itself, if there is one. A function is seen by what
/// comes after it and by itself only, so that there is no other way to recurse.
pub(super) fn calls_itself<'s>(term: &Term<&'s str>) -> Option<&'s str> {
    let mut found = None;
    visit(term, &mut Vec::new(), &mut found);
    found
}

fn visit<'s>(term: &Term<&'s str>, inside: &mut Vec<(&'s str, usize)>, found: &mut Option<&'s str>) {
    let mut all = |terms: &mut dyn Iterator<Item = &Term<&'s str>>| {
        for term in terms {
            visit(term, inside, found);
        }
    };
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => (),
        Term::Str(_, parts) => all(&mut parts.iter().filter_map(|part| match part {
            StrPart::Term(term) => Some(term),
            _ => None,
        })),
        Term::Arr(inner) => all(&mut inner.iter().map(AsRef::as_ref)),
        Term::Obj(fields) => all(&mut fields.iter().flat_map(|(key, value)| std::iter::once(key).chain(value))),
        Term::Neg(inner) | Term::Label(_, inner) => all(&mut std::iter::once(inner.as_ref())),
        Term::BinOp(left, operator, right) => {
            all(&mut [left.as_ref(), right.as_ref()].into_iter());
            if let BinaryOp::Pipe(Some(pattern)) = operator {
                in_pattern(pattern, inside, found);
            }
        }
        Term::Fold(_, over, pattern, steps) => {
            all(&mut std::iter::once(over.as_ref()).chain(steps));
            in_pattern(pattern, inside, found);
        }
        Term::TryCatch(body, handler) => all(&mut std::iter::once(body.as_ref()).chain(handler.as_deref())),
        Term::IfThenElse(cases, otherwise) => {
            all(&mut cases.iter().flat_map(|(condition, then)| [condition, then]).chain(otherwise.as_deref()))
        }
        Term::Def(definitions, body) => {
            for Def { name, args, body } in definitions {
                inside.push((name, args.len()));
                visit(body, inside, found);
                inside.pop();
            }
            visit(body, inside, found);
        }
        Term::Call(name, arguments) => {
            all(&mut arguments.iter());
            if inside.contains(&(*name, arguments.len())) {
                *found = Some(name);
            }
        }
        Term::Path(start, path) => {
            visit(start, inside, found);
            for (part, _) in &path.0 {
                use jaq_core::path::Part;
                let terms = match part {
                    Part::Index(index) => [Some(index), None],
                    Part::Range(from, to) => [from.as_ref(), to.as_ref()],
                };
                for term in terms.into_iter().flatten() {
                    visit(term, inside, found);
                }
            }
        }
    }
}

fn in_pattern<'s>(pattern: &Pattern<&'s str>, inside: &mut Vec<(&'s str, usize)>, found: &mut Option<&'s str>) {
    match pattern {
        Pattern::Var(_) => (),
        Pattern::Arr(items) => items.iter().for_each(|item| in_pattern(item, inside, found)),
        Pattern::Obj(fields) => fields.iter().for_each(|(key, value)| {
            visit(key, inside, found);
            in_pattern(value, inside, found);
        }),
    }
}
