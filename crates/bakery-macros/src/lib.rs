//! `#[derive(ModuleArgs)]`: a documented struct becomes a module's argument specification and its reader.
//!
//! On the struct: `#[args(exclusive = "a,b", one_of = "a,b", together = "a,b")]`, each repeatable.
//! On a field: `#[arg(required, alias = "…", default = "…", choices = "a,b", formerly = "old=a", secret, flatten, name = "…")]`.
//! The doc comment of a field is its documentation.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Expr, Fields, Lit, LitStr, Meta, parse_macro_input};

/// See the crate's documentation.
#[proc_macro_derive(ModuleArgs, attributes(arg, args))]
pub fn module_args(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn docs(attributes: &[Attribute]) -> String {
    let lines: Vec<String> = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(lit) => match &lit.lit {
                    Lit::Str(text) => Some(text.value().trim().to_owned()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
        .collect();
    lines.join(" ")
}

fn list(text: &LitStr) -> Vec<String> {
    text.value().split(',').map(|s| s.trim().to_owned()).collect()
}

fn expand(input: &DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
    let name = &input.ident;
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new_spanned(input, "ModuleArgs needs a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(syn::Error::new_spanned(input, "ModuleArgs needs named fields"));
    };
    let mut rules = Vec::new();
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("args")) {
        attribute.parse_nested_meta(|meta| {
            let kind = if meta.path.is_ident("exclusive") {
                quote!(Exclusive)
            } else if meta.path.is_ident("one_of") {
                quote!(OneOf)
            } else if meta.path.is_ident("together") {
                quote!(Together)
            } else {
                return Err(meta.error("unknown rule"));
            };
            let names = list(&meta.value()?.parse()?);
            rules.push(quote!(crate::args::Rule::#kind(&[#(#names),*])));
            Ok(())
        })?;
    }
    let mut specs = Vec::new();
    let mut readers = Vec::new();
    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        let ty = &field.ty;
        let mut arg_name = ident.to_string().trim_start_matches("r#").to_owned();
        let (mut required, mut secret, mut flatten) = (false, false, false);
        let mut aliases = Vec::new();
        let (mut choices, mut formerly) = (Vec::new(), Vec::new());
        let mut default = None;
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("arg")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("required") {
                    required = true;
                } else if meta.path.is_ident("secret") {
                    secret = true;
                } else if meta.path.is_ident("flatten") {
                    flatten = true;
                } else if meta.path.is_ident("alias") {
                    aliases.extend(list(&meta.value()?.parse()?));
                } else if meta.path.is_ident("choices") {
                    choices = list(&meta.value()?.parse()?);
                } else if meta.path.is_ident("formerly") {
                    for pair in list(&meta.value()?.parse()?) {
                        let (old, new) = pair.split_once('=').ok_or_else(|| meta.error("OLD=NEW"))?;
                        formerly.push(quote!((#old, #new)));
                    }
                } else if meta.path.is_ident("default") {
                    default = Some(meta.value()?.parse::<LitStr>()?.value());
                } else if meta.path.is_ident("name") {
                    arg_name = meta.value()?.parse::<LitStr>()?.value();
                } else {
                    return Err(meta.error("unknown attribute"));
                }
                Ok(())
            })?;
        }
        if flatten {
            specs.push(quote!(crate::args::Part::All(<#ty as crate::args::ModuleArgs>::PARTS)));
            readers.push(quote!(#ident: <#ty as crate::args::ModuleArgs>::read(args)));
            continue;
        }
        let doc = docs(&field.attrs);
        let default = match default {
            Some(text) => quote!(Some(#text)),
            None => quote!(None),
        };
        specs.push(quote! {
            crate::args::Part::One(crate::args::ArgSpec {
                name: #arg_name,
                aliases: &[#(#aliases),*],
                kind: <#ty as crate::args::FromArg>::KIND,
                required: #required,
                default: #default,
                choices: &[#(#choices),*],
                formerly: &[#(#formerly),*],
                secret: #secret,
                doc: #doc,
            })
        });
        readers.push(quote!(#ident: args.take(#arg_name)));
    }
    let summary = docs(&input.attrs);
    Ok(quote! {
        impl crate::args::ModuleArgs for #name {
            const SUMMARY: &'static str = #summary;
            const PARTS: &'static [crate::args::Part] = &[#(#specs),*];
            const RULES: &'static [crate::args::Rule] = &[#(#rules),*];
            fn read(args: &crate::args::Reader) -> Self {
                Self { #(#readers),* }
            }
        }
    })
}
