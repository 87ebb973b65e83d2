//! The names of the accounts in exported books.

use domain::ledger::Account;

/// The account's name in both formats: its type, and its id with each word capitalised, as
/// beancount requires. The last part in lower case is the id.
pub(super) const fn name(account: Account) -> &'static str {
    match account {
        Account::PaymentClearing => "Assets:Payment-Clearing",
        Account::Bank => "Assets:Bank",
        Account::Inventory => "Assets:Inventory",
        Account::CustomerDeposits => "Liabilities:Customer-Deposits",
        Account::CustomerCredit => "Liabilities:Customer-Credit",
        Account::SalesTaxPayable => "Liabilities:Sales-Tax-Payable",
        Account::GoodsReceived => "Liabilities:Goods-Received",
        Account::Sales => "Income:Sales",
        Account::ShippingIncome => "Income:Shipping-Income",
        Account::Refunds => "Income:Refunds",
        Account::CostOfGoods => "Expenses:Cost-Of-Goods",
        Account::DisputedPayments => "Assets:Disputed-Payments",
        Account::DisputeFees => "Expenses:Dispute-Fees",
        Account::DisputeLosses => "Expenses:Dispute-Losses",
        Account::PaymentFees => "Expenses:Payment-Fees",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_again_by_its_name() {
        for account in Account::ALL {
            let (kind, last) = name(account).split_once(':').unwrap();
            assert_eq!(Account::by_id(&last.to_lowercase()), Some(account));
            assert!(["Assets", "Liabilities", "Income", "Expenses"].contains(&kind), "{kind}");
            // The rule for names in beancount.
            assert!(last.starts_with(|first: char| first.is_ascii_uppercase()), "{last}");
        }
    }
}
