//! Companies.

use axum::extract::State;

use super::dto::{Company, CompanyName};
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::Result;
use crate::form::Form;
use crate::openapi::COMPANIES;

/// Shows a company
///
/// A company exists from the first successful write that names it.
#[utoipa::path(get, path = "/v1/companies/{companyId}", operation_id = "getCompany",
    tag = COMPANIES, responses((status = 200, description = "The company.", body = Company)))]
pub(crate) async fn show(State(app): State<App>, access: Authorized) -> Result<Json<Company>> {
    let company = app.engine().company_of(access.company).await?;
    Ok(Json::ok(Company::of(&company)))
}

/// Names a company
///
/// Makes it when it is new.
#[utoipa::path(put, path = "/v1/companies/{companyId}", operation_id = "nameCompany",
    tag = COMPANIES, request_body = CompanyName,
    responses((status = 200, description = "The company.", body = Company)))]
pub(crate) async fn name(
    State(app): State<App>,
    access: Authorized,
    form: Form,
) -> Result<Json<Company>> {
    let given = CompanyName::read(form)?;
    let company = access.engine(&app).name_company(access.company, &given.name).await?;
    Ok(Json::ok(Company::of(&company)))
}
