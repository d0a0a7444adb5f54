"""Whether there are credentials for a bucket at all: said at once, in a line, where clients try for long and lament."""

from __future__ import annotations

import logging
import os

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, S3Options


def check_google(options: PipelineOptions) -> None:
    """Raises PermissionError where Google's clients would find no credentials; Beam would look five times."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    google_options = options.view_as(GoogleCloudOptions)
    if google_options.no_auth or os.environ.get("STORAGE_EMULATOR_HOST"):
        return
    logger = logging.getLogger("google.auth")
    before = logger.level
    logger.setLevel(logging.ERROR)  # it warns of each time that no metadata server answers
    try:
        google.auth.default(scopes=google_options.gcp_oauth_scopes)
    except DefaultCredentialsError as error:
        raise PermissionError(
            f"no Google credentials ({' '.join(str(error).split()).partition('. ')[0]}): run `gcloud auth "
            "application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket give --no_auth"
        ) from error
    finally:
        logger.setLevel(before)


def check_aws(options: PipelineOptions) -> None:
    """Raises PermissionError where AWS's client would find no credentials."""
    import boto3.session

    if options.view_as(S3Options).s3_access_key_id or boto3.session.Session().get_credentials() is not None:
        return
    raise PermissionError(
        "Unable to locate credentials of AWS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give "
        "--s3_access_key_id and --s3_secret_access_key"
    )
