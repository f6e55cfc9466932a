# Perl's HTTP::Tiny and JSON::PP, both of its core, with a form that HTTP::Tiny makes, and a check of the answer's members.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP qw(decode_json);
use MIME::Base64 qw(encode_base64);

my ($base, $order) = @ARGV;
my $client = HTTP::Tiny->new(keep_alive => 1, timeout => 20);

sub said {
    my ($step, $answer) = @_;
    die "$step: $answer->{content}" if $answer->{status} == 599;    # its own failures
    print "$step\t$answer->{status}\t$answer->{headers}{'content-type'}\n";
    return $answer->{content};
}

my $basic = 'Basic ' . encode_base64('client:secret', '');
my $token = decode_json(said('login', $client->post_form("$base/oauth/v2/token",
    {grant_type => 'password', username => 'machine', password => 'pass'}, {headers => {Authorization => $basic}})));
die 'not a token' if join(',', sort keys %$token) ne 'access_token,expires_in' || $token->{expires_in} !~ /^[0-9]+$/;
my $bearer = "Bearer $token->{access_token}";
said('list', $client->get("$base/corporate-accounts/v2/accounts", {headers => {Authorization => $bearer}}));
said('order', $client->post("$base/corporate-mobile-subscriptions/v2/orders",
    {content => $order, headers => {Authorization => $bearer, 'Content-Type' => 'application/json'}}));
my $bye = said('logout', $client->get("$base/oauth/v2/logout", {headers => {Authorization => $bearer}}));
die 'not logged out' if $bye ne 'OK!';
