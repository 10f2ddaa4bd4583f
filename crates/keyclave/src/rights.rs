//! `keyclave access subject|group|policy|explain|who-can|test`.

use std::io::Read;
use std::path::Path;

use keyclave_client::Client;
use keyclave_client::keys::PageToken;
use keyclave_types::access::Subject;
use keyclave_types::request::{Explanation, GroupDescription, SubjectDescription};
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::access::{GroupCommand, PolicyCommand, SubjectCommand};
use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;
use crate::table::Table;

/// Bytes of a policy or a table of expectations that are read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

pub(crate) async fn subject(command: SubjectCommand, client: &Client) -> Result<Shown, Failure> {
    match command {
        SubjectCommand::Put { subject, roles, groups } => {
            let subject = SubjectDescription {
                subject,
                roles: roles.into_iter().collect(),
                groups: groups.into_iter().collect(),
            };
            let answer = watched("writing the subject", client.put_subject(&subject)).await?;
            let object = positioned(subject_json(&subject), answer.position);
            Ok(Shown::new(format!("{} stands", subject.subject), &object))
        }
        SubjectCommand::List => list_subjects(client).await,
        SubjectCommand::RevokeCredentials { subject } => {
            let ended = watched("ending the credentials", client.revoke_credentials(&subject)).await?;
            let text = format!("every credential of {subject} has ended, on every node");
            Ok(Shown::new(
                text,
                &json!({ "subject": subject.to_string(), "position": ended.position.to_string() }),
            ))
        }
        SubjectCommand::Remove { subject } => {
            let removed = watched("removing the subject", client.remove_subject(&subject)).await?;
            let text = format!("{subject} is removed, and its credentials have ended, on every node");
            Ok(Shown::new(
                text,
                &json!({ "subject": subject.to_string(), "position": removed.position.to_string() }),
            ))
        }
    }
}

pub(crate) async fn group(command: GroupCommand, client: &Client) -> Result<Shown, Failure> {
    match command {
        GroupCommand::Put { name, roles } => {
            let group = GroupDescription { name, roles: roles.into_iter().collect() };
            let answer = watched("writing the group", client.put_group(&group)).await?;
            let object = positioned(group_json(&group), answer.position);
            Ok(Shown::new(format!("group {} stands", group.name), &object))
        }
        GroupCommand::List => list_groups(client).await,
        GroupCommand::Remove { name } => {
            let removed = watched("removing the group", client.remove_group(&name)).await?;
            let object = json!({ "name": name.as_str(), "position": removed.position.to_string() });
            Ok(Shown::new(format!("group {name} is removed"), &object))
        }
    }
}

pub(crate) async fn policy(command: PolicyCommand, client: &Client) -> Result<Shown, Failure> {
    match command {
        PolicyCommand::Put { name, file } => {
            let text = text_of(&file)?;
            let answer = watched("writing the policy", client.put_policy(&name, &text)).await?;
            let object = json!({ "name": name.as_str(), "position": answer.position.to_string() });
            Ok(Shown::new(format!("policy {name} holds on every node"), &object))
        }
        PolicyCommand::Get { name } => {
            let answer = watched("reading the policy", client.policy(&name)).await?;
            let policy = &answer.value;
            let object = json!({
                "name": policy.name.as_str(),
                "text": policy.text,
                "put_at": policy.put_at.to_string(),
                "position": answer.position.to_string(),
            });
            Ok(Shown::new(policy.text.clone(), &object))
        }
        PolicyCommand::List => list_policies(client).await,
        PolicyCommand::Remove { name } => {
            let removed = watched("removing the policy", client.remove_policy(&name)).await?;
            let object = json!({ "name": name.as_str(), "position": removed.position.to_string() });
            Ok(Shown::new(format!("policy {name} is removed, on every node"), &object))
        }
    }
}

pub(crate) async fn explain(
    client: &Client,
    subject: &Subject,
    action: &str,
    on: &str,
) -> Result<Shown, Failure> {
    let answer = watched("asking", client.explain(subject, action, on)).await?;
    let explanation = answer.value;
    let object = json!({
        "subject": subject.to_string(),
        "action": action,
        "on": on,
        "allowed": explanation.allowed,
        "by": explanation.by,
        "missing": explanation.missing,
        "would_do": grants(&explanation),
        "position": answer.position.to_string(),
    });
    Ok(Shown::new(explanation_text(&explanation), &object))
}

pub(crate) async fn who_can(client: &Client, action: &str, on: &str) -> Result<Shown, Failure> {
    let answer = watched("asking", client.who_can(action, on)).await?;
    let mut table = Table::new(["SUBJECT", "THROUGH"]);
    for able in &answer.value {
        table.row([able.subject.to_string(), able.by.join(", ")]);
    }
    let able: Vec<Value> = answer
        .value
        .iter()
        .map(|able| json!({ "subject": able.subject.to_string(), "by": able.by }))
        .collect();
    Ok(Shown::new(table.lines(), &json!({ "able": able, "position": answer.position.to_string() })))
}

/// One line of a table of expectations.
struct Expectation<'a> {
    line: usize,
    allowed: bool,
    subject: Subject,
    action: &'a str,
    on: &'a str,
}

/// One expectation as it came out.
#[derive(Serialize)]
struct Tested {
    line: usize,
    subject: String,
    action: String,
    on: String,
    expected: bool,
    allowed: bool,
    by: Vec<String>,
}

/// Exits 1 if any expectation is not met.
pub(crate) async fn test(client: &Client, file: &Path) -> Result<Shown, Failure> {
    let text = text_of(file)?;
    let expectations = text.lines().enumerate().filter_map(|(at, line)| expectation(at + 1, line));
    let expectations = expectations.collect::<Result<Vec<_>, _>>()?;
    let mut tested = Vec::with_capacity(expectations.len());
    for Expectation { line, allowed: expected, subject, action, on } in expectations {
        let explanation = watched("asking", client.explain(&subject, action, on)).await?.value;
        let (subject, action, on) = (subject.to_string(), action.to_owned(), on.to_owned());
        let (allowed, by) = (explanation.allowed, explanation.by);
        tested.push(Tested { line, subject, action, on, expected, allowed, by });
    }
    let wrong: Vec<&Tested> = tested.iter().filter(|tested| tested.allowed != tested.expected).collect();
    let mut text: String = wrong.iter().map(|tested| wrong_text(tested)).collect();
    text.push_str(&format!("{} of {} expectations are met\n", tested.len() - wrong.len(), tested.len()));
    let status = u8::from(!wrong.is_empty());
    let object = json!({ "ok": wrong.is_empty(), "tested": tested });
    Ok(Shown::new(text, &object).with_status(status))
}

fn wrong_text(tested: &Tested) -> String {
    let Tested { line, subject, action, on, expected, by, .. } = tested;
    let (should, does) = if *expected { ("be allowed", "is not") } else { ("be denied", "is allowed") };
    let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
    format!("line {line}: {subject} {action} {on} should {should} and {does}{by}\n")
}

/// None for a line without anything on it.
fn expectation(line: usize, text: &str) -> Option<Result<Expectation<'_>, Failure>> {
    let mut words = text.split('#').next().unwrap_or_default().split_whitespace();
    let expected = words.next()?;
    let wrong = || Failure::usage(format!("line {line}: expected `allow|deny SUBJECT ACTION [KEY]`"));
    let allowed = match expected {
        "allow" => true,
        "deny" => false,
        _ => return Some(Err(wrong())),
    };
    let (subject, action, on) = (words.next(), words.next(), words.next().unwrap_or_default());
    let parsed = subject.and_then(|subject| subject.parse().ok()).zip(action);
    match (parsed, words.next()) {
        (Some((subject, action)), None) => Some(Ok(Expectation { line, allowed, subject, action, on })),
        (_, _) => Some(Err(wrong())),
    }
}

fn explanation_text(explanation: &Explanation) -> String {
    let mut text = if explanation.allowed { "allow\n".to_owned() } else { "deny\n".to_owned() };
    for by in &explanation.by {
        text.push_str(&format!(
            "  {} {by}\n",
            if explanation.allowed { "permitted by" } else { "because of" }
        ));
    }
    if let Some(missing) = &explanation.missing {
        text.push_str(&format!("  {missing}\n"));
    }
    let would_do = grants(explanation);
    if !would_do.is_empty() {
        text.push_str(&format!("  any of these roles would do: {}\n", would_do.join(", ")));
    }
    text
}

fn grants(explanation: &Explanation) -> Vec<String> {
    explanation.would_do.iter().map(ToString::to_string).collect()
}

async fn list_subjects(client: &Client) -> Result<Shown, Failure> {
    let mut table = Table::new(["SUBJECT", "ROLES", "GROUPS"]);
    let (mut objects, mut after): (Vec<Value>, Option<PageToken>) = (Vec::new(), None);
    let position = loop {
        let page = watched("listing subjects", client.list_subjects(0, after)).await?;
        for subject in &page.value.items {
            table.row([subject.subject.to_string(), joined(&subject.roles), joined(&subject.groups)]);
            objects.push(subject_json(subject));
        }
        after = page.value.next;
        if after.is_none() {
            break page.position;
        }
    };
    Ok(Shown::new(table.lines(), &json!({ "subjects": objects, "position": position.to_string() })))
}

async fn list_groups(client: &Client) -> Result<Shown, Failure> {
    let mut table = Table::new(["GROUP", "ROLES"]);
    let (mut objects, mut after): (Vec<Value>, Option<PageToken>) = (Vec::new(), None);
    let position = loop {
        let page = watched("listing groups", client.list_groups(0, after)).await?;
        for group in &page.value.items {
            table.row([group.name.to_string(), joined(&group.roles)]);
            objects.push(group_json(group));
        }
        after = page.value.next;
        if after.is_none() {
            break page.position;
        }
    };
    Ok(Shown::new(table.lines(), &json!({ "groups": objects, "position": position.to_string() })))
}

async fn list_policies(client: &Client) -> Result<Shown, Failure> {
    let (mut names, mut after): (Vec<String>, Option<PageToken>) = (Vec::new(), None);
    let position = loop {
        let page = watched("listing policies", client.list_policies(0, after)).await?;
        names.extend(page.value.items.iter().map(ToString::to_string));
        after = page.value.next;
        if after.is_none() {
            break page.position;
        }
    };
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    Ok(Shown::new(lines, &json!({ "policies": names, "position": position.to_string() })))
}

fn subject_json(subject: &SubjectDescription) -> Value {
    json!({
        "subject": subject.subject.to_string(),
        "roles": texts(&subject.roles),
        "groups": texts(&subject.groups),
    })
}

fn group_json(group: &GroupDescription) -> Value {
    json!({ "name": group.name.as_str(), "roles": texts(&group.roles) })
}

fn positioned(mut object: Value, position: keyclave_types::position::Position) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.insert("position".to_owned(), Value::String(position.to_string()));
    }
    object
}

fn texts<T: ToString>(items: &std::collections::BTreeSet<T>) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn joined<T: ToString>(items: &std::collections::BTreeSet<T>) -> String {
    if items.is_empty() { "-".to_owned() } else { texts(items).join(", ") }
}

pub(crate) fn text_of(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::from_error("FILE", &error).next(format!("look at {}", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_expectations_is_read_line_by_line() {
        let read = |text| expectation(1, text);
        assert!(read("").is_none());
        assert!(read("  # nothing").is_none());
        let right = read("allow service:billing encrypt payments/card # why").unwrap().unwrap();
        assert!(right.allowed);
        assert_eq!((right.action, right.on), ("encrypt", "payments/card"));
        assert!(!read("deny user:a seal").unwrap().unwrap().allowed);
        for wrong in ["allow", "allow billing encrypt", "perhaps user:a seal", "deny user:a seal x y"] {
            assert!(read(wrong).unwrap().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_explanation_says_what_decides_or_what_would_do() {
        let no = Explanation {
            allowed: false,
            by: Vec::new(),
            missing: Some("nothing permits it".to_owned()),
            would_do: vec!["application@app/".parse().unwrap()],
        };
        let text = "deny\n  nothing permits it\n  any of these roles would do: application@app/\n";
        assert_eq!(explanation_text(&no), text);
        let by = vec!["role reader".to_owned()];
        let yes = Explanation { allowed: true, by, missing: None, would_do: Vec::new() };
        assert_eq!(explanation_text(&yes), "allow\n  permitted by role reader\n");
    }
}
