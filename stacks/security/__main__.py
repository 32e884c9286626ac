"""The security layer: the providers' API keys, and a least-privilege role for each function and caller."""

import pulumi_aws as aws
from apikeys import api_keys_secret
from grants import Grants
from roles import account_callers, lambda_service, role

from envmig_stacks import contract, provider, settings
from envmig_stacks.naming import CALLERS, FUNCTIONS, Arns, Names

layer = settings.load()
names = Names(layer.suffix)
options, lookup = provider.explicit(layer)
arns = Arns(names, aws.get_caller_identity_output(opts=lookup).account_id, layer.region)
data = contract.DataOutputs.read(layer)

secret = api_keys_secret(names, options)
grants = Grants(arns, data, secret.arn)

roles = {
    **{holder: role(names, holder, lambda_service(), grants.of(holder), options) for holder in FUNCTIONS},
    **{holder: role(names, holder, account_callers(arns), grants.of(holder), options) for holder in CALLERS},
}

contract.SecurityOutputs(
    api_keys_secret_arn=secret.arn,
    role_arns=contract.gathered({holder: made.arn for holder, made in roles.items()}),
    role_ids=contract.gathered({holder: made.unique_id for holder, made in roles.items()}),
).export()
