//! Callers that are known by signing their requests.

mod keys;
mod messages;
mod once;
mod webhooks;

use self::keys::Key;
pub(super) use self::once::Once;
use portcullis_engines_authz::Vocabulary;
use portcullis_engines_signatures::{KEY_FILE_BYTES_MAX, SignatureKey};
use portcullis_gateway_policy::{
    AccessContext, CompileError, Credentials, Exchange, FileContent, FileFormat, FileProblem, SignatureForm, SignaturesPlan,
};
use portcullis_model::{Principal, Reason, Rejection};
use std::sync::Arc;

/// How files of keys are read.
pub const SIGNATURE_KEYS: FileFormat = FileFormat {
    bytes_max: KEY_FILE_BYTES_MAX as u64,
    read: |bytes| match SignatureKey::read(bytes) {
        Ok(key) => Ok(FileContent::new(key)),
        Err(what) => Err(vec![FileProblem { line: None, what }]),
    },
};

/// The senders of one name.
struct Senders {
    plan: Arc<SignaturesPlan>,
    keys: Box<[Key]>,
    words: Arc<Vocabulary>,
}

/// What is known of a signed request by its head.
pub(super) enum Head {
    /// Who it is: there is no body.
    Known(Arc<Principal>),
    /// So many bytes of its body are needed at the most.
    Body(u64),
}

/// All senders whose signatures an API takes: one list for each form.
pub(super) struct Signatures {
    senders: Box<[Senders]>,
    once: Arc<Once>,
}

impl Signatures {
    /// Those of the API.
    ///
    /// # Errors
    /// When control has not read the file of a key, or the key in it is for another algorithm.
    pub(super) fn of(context: &AccessContext<'_>) -> Result<Self, CompileError> {
        let names = context.access.authenticate.any_of.iter();
        let plans = names.filter_map(|name| context.signatures.iter().find(|plan| plan.name == *name));
        let senders = plans.map(|plan| {
            let keys = plan.keys.iter().map(|key| Key::of(&plan.name, key, context.files)).collect::<Result<_, _>>()?;
            Ok(Senders { plan: Arc::clone(plan), keys, words: Arc::clone(context.words) })
        });
        // SECURITY: one memory for every configuration: a reload makes no signature worth something again.
        let once = context.pool.state("authenticate/signatures", [0; 32], Once::default);
        Ok(Self { senders: senders.collect::<Result<_, CompileError>>()?, once })
    }

    /// What a caller without a credential is asked for, beside others (RFC 9110 section 11.6.1).
    pub(super) fn challenges(&self) -> impl Iterator<Item = String> {
        self.senders.iter().map(|senders| {
            let form = match senders.plan.form {
                SignatureForm::StandardWebhooks => "standard-webhooks",
                SignatureForm::Messages => "rfc9421",
            };
            format!("Signature realm=\"api\", form=\"{form}\"")
        })
    }

    /// In how many forms that the API takes the request is signed.
    pub(super) fn forms_shown(&self, exchange: &Exchange) -> usize {
        self.shown(exchange).count()
    }

    fn shown(&self, exchange: &Exchange) -> impl Iterator<Item = &Senders> {
        self.senders.iter().filter(|senders| match senders.plan.form {
            SignatureForm::StandardWebhooks => webhooks::is_shown(exchange),
            SignatureForm::Messages => messages::is_shown(exchange),
        })
    }

    /// Judges the head of a signed request; its body is not read before that.
    ///
    /// # Errors
    /// When it cannot be good whatever the body is.
    pub(super) fn judge_head(&self, exchange: &Exchange, now: u64) -> Result<Head, Rejection> {
        let senders = self.shown(exchange).next().ok_or(Reason::CredentialsMissing)?;
        match senders.plan.form {
            SignatureForm::StandardWebhooks => webhooks::judge_head(senders, &self.once, exchange, now).map(Head::Body),
            SignatureForm::Messages => messages::judge_head(senders, &self.once, exchange, now),
        }
    }

    /// Judges the whole of a signed request, whose head is good.
    ///
    /// # Errors
    /// When nobody who is known has signed it, or it has come before.
    pub(super) fn judge_whole(&self, exchange: &Exchange, now: u64) -> Result<Arc<Principal>, Rejection> {
        let senders = self.shown(exchange).next().ok_or(Reason::CredentialsMissing)?;
        match senders.plan.form {
            SignatureForm::StandardWebhooks => webhooks::judge_whole(senders, &self.once, exchange, now),
            SignatureForm::Messages => messages::judge_whole(senders, &self.once, exchange, now),
        }
    }

    /// Keeps signatures that were accepted from the upstream, unless it is to have them.
    pub(super) fn remove(&self, exchange: &mut Exchange, credentials: Credentials) {
        for senders in self.senders.iter().filter(|_| credentials != Credentials::Pass) {
            match senders.plan.form {
                SignatureForm::StandardWebhooks => webhooks::remove(exchange),
                SignatureForm::Messages => messages::remove(exchange),
            }
        }
    }
}

fn invalid(detail: &'static str) -> Rejection {
    Rejection::new(Reason::CredentialsInvalid, detail)
}
