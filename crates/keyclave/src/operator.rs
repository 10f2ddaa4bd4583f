//! `keyclave operator …`: one file per act.

mod init;

mod recipients;

mod unseal;

mod seal;

pub(crate) mod status;

mod health;

mod members;

use crate::arguments::Connection;
use crate::arguments::operator::OperatorCommand;
use crate::failure::Failure;
use crate::output::Shown;

/// Runs one of the commands.
pub(crate) async fn run(command: OperatorCommand, connection: &Connection) -> Result<Shown, Failure> {
    match command {
        OperatorCommand::Init { shares, threshold, admission, recipients, cacert_out } => {
            let admission = admission.into();
            let asked = init::Asked { shares, threshold, admission, recipients, cacert_out };
            init::run(asked, connection).await
        }
        OperatorCommand::Unseal { node, code, node_code, share_file, all_members, reset } => {
            unseal::run(unseal::Asked { node, code, node_code, share_file, all_members, reset }, connection)
                .await
        }
        OperatorCommand::Admit { node, code } => seal::admit(node, &code, connection).await,
        OperatorCommand::Code => seal::code(connection).await,
        OperatorCommand::Seal { node, cluster } => seal::seal(node, cluster, connection).await,
        OperatorCommand::Status => status::run(connection).await,
        OperatorCommand::Health { address, unsealed } => health::run(address, unsealed).await,
        OperatorCommand::JoinToken { out } => members::join_token(out, connection).await,
        OperatorCommand::Members(command) => members::run(command, connection).await,
        OperatorCommand::StepDown { to } => members::step_down(to, connection).await,
        OperatorCommand::AcceptTime { time } => members::accept_time(time, connection).await,
    }
}
