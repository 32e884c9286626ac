"""aws:lambda/function:Function, its URL, and what it takes events from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local_aws.resources.base import Handler, Properties, retag
from local_aws.values import concealed

if TYPE_CHECKING:
    from local_aws.cloud import Cloud


class Function(Handler):
    """A function whose code is a package of files."""

    token = "aws:lambda/function:Function"  # noqa: S105
    inputs = frozenset(
        {
            "name", "description", "role", "runtime", "architectures", "handler", "code", "memorySize", "timeout",
            "tracingConfig", "loggingConfig", "environment", "packageType", "publish", "skipDestroy",
        }
    )  # fmt: skip
    replace_on = frozenset({"name", "packageType"})
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["name"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.lambda_.create_function(
            **_configuration(inputs),
            Code={"ZipFile": inputs["code"].zipped()},
            Architectures=inputs["architectures"],
            Tags=inputs["tagsAll"],
        )
        self._wait(cloud, inputs["name"])

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        function = cloud.lambda_.get_function_configuration(FunctionName=resource_id)
        return {"arn": function["FunctionArn"], "codeSha256": function["CodeSha256"]}

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        if concealed(old.get("code")) != concealed(new["code"]) or old.get("architectures") != new["architectures"]:
            cloud.lambda_.update_function_code(
                FunctionName=resource_id,
                ZipFile=new["code"].zipped(),
                Architectures=new["architectures"],
            )
            self._wait(cloud, resource_id)
        cloud.lambda_.update_function_configuration(**_configuration(new))
        self._wait(cloud, resource_id)
        arn = cloud.lambda_.get_function_configuration(FunctionName=resource_id)["FunctionArn"]
        retag(
            old,
            new,
            lambda tags: cloud.lambda_.tag_resource(Resource=arn, Tags=tags),
            lambda keys: cloud.lambda_.untag_resource(Resource=arn, TagKeys=keys),
        )

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.lambda_.delete_function(FunctionName=resource_id)

    @staticmethod
    def _wait(cloud: Cloud, name: str) -> None:
        cloud.lambda_.get_waiter("function_updated_v2").wait(
            FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )


class FunctionUrl(Handler):
    """The HTTPS address of a function."""

    token = "aws:lambda/functionUrl:FunctionUrl"  # noqa: S105
    inputs = frozenset({"functionName", "authorizationType", "invokeMode"})
    replace_on = frozenset({"functionName"})

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["functionName"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.lambda_.create_function_url_config(**_url(inputs))

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        url = cloud.lambda_.get_function_url_config(FunctionName=resource_id)
        host = url["FunctionUrl"].split("/")[2].split(":")[0]
        return {
            "functionArn": url["FunctionArn"],
            # The emulator names its own address; the program's outputs hold what AWS would say.
            "functionUrl": f"https://{host.split('.')[0]}.lambda-url.{cloud.region}.on.aws/",
            "urlId": host.split(".")[0],
        }

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        cloud.lambda_.update_function_url_config(**_url(new))

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.lambda_.delete_function_url_config(FunctionName=resource_id)


class EventSourceMapping(Handler):
    """A queue whose messages a function takes."""

    token = "aws:lambda/eventSourceMapping:EventSourceMapping"  # noqa: S105
    inputs = frozenset({"eventSourceArn", "functionName", "batchSize", "functionResponseTypes", "scalingConfig"})
    replace_on = frozenset({"eventSourceArn"})
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return f"{inputs['eventSourceArn']} {inputs['functionName']}"

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.lambda_.create_event_source_mapping(
            **_mapping(inputs), EventSourceArn=inputs["eventSourceArn"], Tags=inputs["tagsAll"]
        )

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        found = self._find(cloud, resource_id)
        if found is None:
            return None
        return {
            "uuid": found["UUID"],
            "functionArn": found["FunctionArn"],
            "arn": f"arn:aws:lambda:{cloud.region}:{cloud.account}:event-source-mapping:{found['UUID']}",
        }

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        found = self._find(cloud, resource_id)
        if found is None:
            self.create(cloud, new)
            return
        cloud.lambda_.update_event_source_mapping(UUID=found["UUID"], **_mapping(new))
        arn = f"arn:aws:lambda:{cloud.region}:{cloud.account}:event-source-mapping:{found['UUID']}"
        retag(
            old,
            new,
            lambda tags: cloud.lambda_.tag_resource(Resource=arn, Tags=tags),
            lambda keys: cloud.lambda_.untag_resource(Resource=arn, TagKeys=keys),
        )

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        if found := self._find(cloud, resource_id):
            cloud.lambda_.delete_event_source_mapping(UUID=found["UUID"])

    @staticmethod
    def _find(cloud: Cloud, resource_id: str) -> Any:
        source, function = resource_id.split(" ")
        listed = cloud.lambda_.list_event_source_mappings(EventSourceArn=source, FunctionName=function)
        return next(iter(listed["EventSourceMappings"]), None)


class Permission(Handler):
    """A statement of a function's resource policy: who else may call it."""

    token = "aws:lambda/permission:Permission"  # noqa: S105
    inputs = frozenset({"function", "statementId", "action", "principal", "sourceArn"})
    replace_on = inputs

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return f"{inputs['function']} {inputs['statementId']}"

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.lambda_.add_permission(
            FunctionName=inputs["function"],
            StatementId=inputs["statementId"],
            Action=inputs["action"],
            Principal=inputs["principal"],
            SourceArn=inputs["sourceArn"],
        )

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        function, statement = resource_id.split(" ")
        policy = json.loads(cloud.lambda_.get_policy(FunctionName=function)["Policy"])
        return {} if any(each["Sid"] == statement for each in policy["Statement"]) else None

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        """Every input makes another statement."""

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        function, statement = resource_id.split(" ")
        cloud.lambda_.remove_permission(FunctionName=function, StatementId=statement)


def _mapping(inputs: Properties) -> dict[str, Any]:
    return {
        "FunctionName": inputs["functionName"],
        "BatchSize": inputs["batchSize"],
        "FunctionResponseTypes": inputs["functionResponseTypes"],
        "ScalingConfig": {"MaximumConcurrency": inputs["scalingConfig"]["maximumConcurrency"]},
    }


def _configuration(inputs: Properties) -> dict[str, Any]:
    logging = inputs["loggingConfig"]
    return {
        "FunctionName": inputs["name"],
        "Description": inputs.get("description", ""),
        "Role": inputs["role"],
        "Runtime": inputs["runtime"],
        "Handler": inputs["handler"],
        "MemorySize": inputs["memorySize"],
        "Timeout": inputs["timeout"],
        "TracingConfig": {"Mode": inputs["tracingConfig"]["mode"]},
        "LoggingConfig": {"LogFormat": logging["logFormat"], "LogGroup": logging["logGroup"]},
        "Environment": {"Variables": inputs["environment"]["variables"]},
    }


def _url(inputs: Properties) -> dict[str, Any]:
    return {
        "FunctionName": inputs["functionName"],
        "AuthType": inputs["authorizationType"],
        "InvokeMode": inputs["invokeMode"],
    }
