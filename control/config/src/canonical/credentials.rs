//! What upstreams get as credentials, as the configuration says it.

use super::{secret_text, texts};
use portcullis_gateway_policy::{CredentialsPlan, ProviderPlan, SecretSource};
use portcullis_model_settings::{Decode, Object, Value};
use serde_json::json;
use std::sync::Arc;

pub(super) fn credentials_json(plan: &CredentialsPlan) -> Value {
    match plan {
        CredentialsPlan::Sign(plan) => {
            json!({ "sign": { "signer": *plan.signer.name, "audience": *plan.audience, "life": plan.life.encode() } })
        }
        CredentialsPlan::ClientCredentials(plan) => {
            let client = client_json(&plan.provider, &plan.client_id, &plan.client_secret);
            json!({ "client_credentials": wanted(client, &plan.scopes, None, plan.resource.as_ref()) })
        }
        CredentialsPlan::Exchange(plan) => {
            let mut client = client_json(&plan.provider, &plan.client_id, &plan.client_secret);
            client.insert("deadline".to_owned(), plan.deadline.encode());
            json!({ "exchange": wanted(client, &plan.scopes, plan.audience.as_ref(), plan.resource.as_ref()) })
        }
    }
}

fn client_json(provider: &ProviderPlan, id: &str, secret: &SecretSource) -> Object {
    let entries = [("provider", &*provider.name), ("client_id", id), ("client_secret", &secret_text(secret))];
    entries.into_iter().map(|(key, text)| (key.to_owned(), Value::from(text))).collect()
}

fn wanted(mut out: Object, scopes: &[Arc<str>], audience: Option<&Arc<str>>, resource: Option<&Arc<str>>) -> Object {
    if !scopes.is_empty() {
        out.insert("scopes".to_owned(), texts(scopes).into());
    }
    out.extend(audience.map(|audience| ("audience".to_owned(), Value::from(&**audience))));
    out.extend(resource.map(|resource| ("resource".to_owned(), Value::from(&**resource))));
    out
}
